"""The URL of a store: what may stand in it, what of it is shown, and what the library makes of it.

A bucket's credentials never stand in it: the URL goes into logs, states and every worker's environment.
"""

from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from trunkline.contracts import errors
from trunkline.storage import clouds

MARKER = ".trunkline-store"
"""A file in a local store's directory that tells it from an empty mount point."""

_SECRETS_IN_NETLOC = ("s3", "s3a", "gs")
"""Where an `@` can only be a password's; `abfss://container@account` is no such URL."""


class InvalidStoreUrlError(errors.TrunklineError):
    """The URL of the object store cannot be used."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"store {url!r} cannot be used: {reason}; try file:///path or s3://bucket")
        self.url, self.reason = url, reason


def shown(url: str) -> str:
    """Return a URL without what may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def backend(url: str) -> ObjectStore:
    """Return the library's store.

    Raises:
        InvalidStoreUrlError: No store can be meant by it.
        OSError: The directory of a `file://` URL cannot be made.
    """
    parts = urlsplit(url)
    problem = _problem(parts)
    if problem:
        raise InvalidStoreUrlError(shown(url), problem)
    try:
        if parts.scheme == "file":
            return _directory(url, Path(unquote(parts.path)))
        if parts.scheme == "memory":
            return from_url("memory:///")
        return clouds.backend(url)
    except (BaseError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InvalidStoreUrlError(shown(url), reason) from error


def _problem(parts: SplitResult) -> str:
    if parts.scheme in ("http", "https", ""):
        return "it is no store that can be written to"
    if parts.scheme == "file" and (parts.netloc or not parts.path.strip("/")):
        return "it names no directory"
    named = parts.scheme in _SECRETS_IN_NETLOC and "@" in parts.netloc
    if parts.query or parts.password is not None or named:
        return "credentials and options stand in the environment (AWS_..., GOOGLE_...), not in it"
    return ""


def _directory(url: str, root: Path) -> ObjectStore:
    # made here and not by the library, whose error for what cannot be made names no path
    root.mkdir(parents=True, exist_ok=True)
    (root / MARKER).touch()
    return from_url(url)
