"""What is taken for an answer of the API server.

What stands between us and the server (a proxy, a log-in page, another server under its address) may answer in
its place, with 200, too. Whatever is read further inside has been looked at here; all else is an error.
"""

import json

from trunkline.scaler.kubernetes.reading import Object

_SHOWN = 200
_READ = ("name", "uid", "resourceVersion")


class NoAnswerError(ValueError):
    """This is not what was asked for.

    Attributes:
        wanted: What that was.
    """

    def __init__(self, wanted: str, shows: str) -> None:
        super().__init__(f"this is no {wanted}: {shows}")
        self.wanted = wanted


class WatchEndedError(ValueError):
    """The server has ended a watch, and said why.

    Attributes:
        status: As of HTTP.
        text: Why, in the server's words.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


def whole(body: bytes) -> Object:
    """Return the object, list or Status that a body holds."""
    found = _parsed(body)
    if not isinstance(found.get("metadata"), dict):
        raise NoAnswerError("object of Kubernetes", shown(body))
    return found


def listed(found: Object) -> Object:
    """Return what is a list, with all that is read of one."""
    items = found.get("items")
    if not isinstance(items, list) or "resourceVersion" not in found["metadata"]:
        raise NoAnswerError("list", str(found.get("kind") or "it has no kind"))
    if not all(_has(each, *_READ) for each in items):
        raise NoAnswerError("list of objects", "one has no name, uid or version")
    return found


def event(line: bytes) -> Object:
    """Return an event of a watch; raise WatchEndedError where it tells of an error."""
    found = _parsed(line)
    about = found.get("object")
    if found.get("type", "ERROR") == "ERROR":
        status = about if isinstance(about, dict) else found
        code = status.get("code")
        raise WatchEndedError(
            code if isinstance(code, int) else 500, str(status.get("message", ""))
        )
    if not _has(about, *(_READ if found["type"] != "BOOKMARK" else _READ[-1:])):
        raise NoAnswerError("event", shown(line))
    return found


def shown(body: bytes) -> str:
    """Return the beginning of a body, for people."""
    return body[:_SHOWN].decode(errors="replace")


def _parsed(body: bytes) -> Object:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise NoAnswerError("JSON", shown(body)) from error
    if not isinstance(found, dict):
        raise NoAnswerError("object", shown(body))
    return found


def _has(found: object, *names: str) -> bool:
    meta = found.get("metadata") if isinstance(found, dict) else None
    return isinstance(meta, dict) and all(isinstance(meta.get(name), str) for name in names)
