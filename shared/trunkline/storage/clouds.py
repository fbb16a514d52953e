"""Buckets: how long they may take, where their credentials are, and what their refusals mean.

Credentials come from the environment, as the clouds' own tools have it (`AWS_ACCESS_KEY_ID`, ...,
`GOOGLE_APPLICATION_CREDENTIALS`), from a role of the machine or the pod, or, which the library does
not know, from the file that Amazon's tools share: `AWS_SHARED_CREDENTIALS_FILE`, `AWS_PROFILE`. What is
in the environment comes first.

A request is tried three times within some seconds by the library; after that the store is away, and
whoever needs it tries again with back-off. A refusal is told as the same: a bucket or a key can be made
good while everything waits for it, and nothing that somebody has run is at fault.
"""

import configparser
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obstore.exceptions import PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, from_url

_SILENCE_S = 30.0
"""How long a store may send nothing while something is awaited of it. A part has 8 MB, so an upload
that is slower than 280 KB/s would never come to an end."""
_REQUEST_S = 6 * 3600.0
"""For one request in all: an object may be of any size, and its bytes may come slowly."""
_S3 = ("s3", "s3a")
_FIELDS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def backend(url: str) -> ObjectStore:
    """Return the bucket; ValueError or the library's errors for what cannot be one."""
    options: Any = {
        "connect_timeout": timedelta(seconds=5),
        "read_timeout": timedelta(seconds=_SILENCE_S),
        "timeout": timedelta(seconds=_REQUEST_S),
    }
    # the library takes this from the environment only where it is given no options at all
    if os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"):
        options["allow_http"] = True
    own: dict[str, Any] = shared_credentials(os.environ) if urlsplit(url).scheme in _S3 else {}
    return from_url(
        url,
        client_options=options,
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
        **own,
    )


def shared_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a profile of the shared file says, unless a key is in the environment.

    Raises:
        ValueError: The file that is named cannot be read, or lacks the profile.
    """
    named = environ.get("AWS_SHARED_CREDENTIALS_FILE", "")
    if environ.get("AWS_ACCESS_KEY_ID") or not named:
        return {}
    profile = environ.get("AWS_PROFILE") or "default"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(Path(named).read_text())
        found = {name: text for name, text in parser[profile].items() if name in _FIELDS}
    except OSError as error:
        problem = f"AWS_SHARED_CREDENTIALS_FILE cannot be read: {error.strerror}"
        raise ValueError(problem) from None
    except (KeyError, ValueError, configparser.Error):
        found = {}  # the parser's own errors quote lines, which are secret
    if not {*_FIELDS[:2]} <= found.keys():
        problem = f"AWS_SHARED_CREDENTIALS_FILE has no key under [{profile}]"
        raise ValueError(problem)
    return found


def is_not_implemented(error: BaseException) -> bool:
    """Return whether an error says that a bucket does not know such a request at all."""
    return isinstance(error, NotImplementedError) or "501 Not Implemented" in str(error)


def reason(error: BaseException) -> str:
    """Return in a line what a store's error says, and for a refusal what can be done.

    Only the first line is taken: what follows are structures of the library's.
    """
    text = str(error)
    first = text.partition("\n")[0] or type(error).__name__
    if "NoSuchBucket" in text:
        return "there is no such bucket; create it, or name another by TRUNKLINE_STORE"
    if "InvalidAccessKeyId" in text:
        return "it does not know the access key; see to AWS_ACCESS_KEY_ID"
    if "SignatureDoesNotMatch" in text:
        return "the secret is not the access key's; see to AWS_SECRET_ACCESS_KEY"
    if "BadScheme" in text:
        return "it is reached over http, which must be allowed: AWS_ALLOW_HTTP=true"
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        needed = "get, put, list and delete objects, and take part in multipart uploads"
        return f"it refuses our credentials, which must be allowed to {needed}: {first}"
    return first
