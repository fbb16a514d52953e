"""Names that may stand in subjects, keys and paths, and the ids that are made from hashes.

Every name becomes a whole NATS token, so none may hold a dot, a space or a wildcard. Ids are
lower-case hex: a commit, a job set and a job share one random 128-bit id (a job is `pipeline@id`),
a datum id is the hash of its inputs' names and paths, a fingerprint adds contents and code.
"""

import hashlib
import re
from collections.abc import Iterable

from trunkline.contracts import errors

_PIPELINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,50}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,63}")
_ID = re.compile(r"[0-9a-f]{32}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

PATH_MAX_BYTES = 1024
"""A path in a repo, in UTF-8. S3 keys, NATS messages and file systems all hold this much."""

PART_MAX_BYTES = 255
"""What file systems hold between two slashes: a longer part could never be seen in /pfs."""


def pipeline(name: str) -> str:
    """Return the name of a pipeline (and of the repo it owns), or raise InvalidNameError."""
    return _checked("pipeline", name, _PIPELINE, "1 to 51 of A-Z a-z 0-9 _ -, not starting with _-")


def repo(name: str) -> str:
    """Return the name of a repo, or raise InvalidNameError."""
    return _checked("repo", name, _PIPELINE, "1 to 51 of A-Z a-z 0-9 _ -, not starting with _-")


def branch(name: str) -> str:
    """Return the name of a branch, or raise InvalidNameError."""
    return _checked("branch", name, _TOKEN, "1 to 63 of A-Z a-z 0-9 _ -")


def worker(name: str) -> str:
    """Return the name of a worker, or raise InvalidNameError."""
    return _checked("worker", name, _TOKEN, "1 to 63 of A-Z a-z 0-9 _ -")


def log_stream(name: str) -> str:
    """Return the name of what was printed on, such as `stderr`, or raise InvalidNameError."""
    return _checked("log stream", name, _TOKEN, "1 to 63 of A-Z a-z 0-9 _ -")


def user(name: str) -> str:
    """Return the name of a NATS user, or raise InvalidNameError."""
    return _checked("user", name, _TOKEN, "1 to 63 of A-Z a-z 0-9 _ -")


def commit(identifier: str) -> str:
    """Return the id of a commit, job set or job, or raise InvalidNameError."""
    return _checked("id", identifier, _ID, "32 lower-case hex digits")


def path(value: str) -> str:
    """Return a path in a repo in its one form (`/a/b`), or raise InvalidPathError.

    The leading slash may be left out. Refused: an empty path, `.`, `..`, empty parts, NUL and other
    control characters, a trailing slash, and what is no UTF-8 or longer than PATH_MAX_BYTES.
    """
    text = value if value.startswith("/") else "/" + value
    if text.startswith("//"):
        raise errors.InvalidPathError(value, "it has an empty part")
    parts = text[1:].split("/")
    if text == "/":
        raise errors.InvalidPathError(value, "it names the root, not a file")
    if "" in parts:
        raise errors.InvalidPathError(value, "it has an empty part or ends in a slash")
    if "." in parts or ".." in parts:
        raise errors.InvalidPathError(value, "it has a part `.` or `..`")
    if _CONTROL.search(text):
        raise errors.InvalidPathError(value, "it has a control character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise errors.InvalidPathError(value, "it is not UTF-8") from error
    if size > PATH_MAX_BYTES:
        raise errors.InvalidPathError(value[:80] + "...", f"it has over {PATH_MAX_BYTES} bytes")
    if size > PART_MAX_BYTES and any(len(part.encode()) > PART_MAX_BYTES for part in parts):
        raise errors.InvalidPathError(value, f"one part has over {PART_MAX_BYTES} bytes")
    return text


def path_key(value: str) -> bytes:
    """Return what a path is sorted by in a manifest.

    The separator sorts before everything else, so the files below one directory lie side by side:
    `/a`, `/a/x`, `/a-b` (as plain text `/a-b` would come in between).
    """
    return value.encode().replace(b"/", b"\0")


def path_of_key(key: bytes) -> str:
    """Return the path that `path_key` made the key of."""
    return key.replace(b"\0", b"/").decode()


def datum_id(inputs: Iterable[tuple[str, str]]) -> str:
    """Return the id of a datum (32 hex digits) from its inputs' (name, path) pairs, in order."""
    text = "\0".join([part for pair in inputs for part in pair])  # which no name or path can hold
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fingerprint(datum: str, contents: Iterable[str], salt: str, code_hash: str) -> bytes:
    """Return the 16 bytes that are equal when running the datum again would repeat itself.

    Args:
        datum: The datum's id.
        contents: The sha256 (hex) of each input file, with its path, in listing order.
        salt: The pipeline's salt; any text, so its length goes before it.
        code_hash: The hash of the code that runs.
    """
    text = "\0".join((datum, str(len(salt)), salt, code_hash, *contents))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _checked(kind: str, value: str, pattern: re.Pattern[str], rule: str) -> str:
    if not pattern.fullmatch(value):
        raise errors.InvalidNameError(kind, value, rule)
    return value
