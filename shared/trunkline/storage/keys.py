"""Keys of objects: each is the sha256 of what the object holds, so nothing is ever overwritten."""

import hashlib
import re

from trunkline.contracts import errors

_KEY = re.compile(r"objects/([0-9a-f]{2})/(\1[0-9a-f]{62})")

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def of(sha256: str) -> str:
    """Return the key of the object with this hash (64 hex digits)."""
    return f"objects/{sha256[:2]}/{sha256}"


def sha256(key: str) -> str:
    """Return the hash in a key; raise NotFoundError for what is no key of ours.

    Keys come in messages, so they are checked before they become a path in a file system.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise errors.NotFoundError("object", key)
    return match[2]
