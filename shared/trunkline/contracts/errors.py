"""Errors that cross rooms.

Each is named for what went wrong, builds its own message (the thing and the remedy) and keeps the
facts as attributes. Whoever catches one decides between three fates: try again, the datum's own
fault, or ours (let the process end and be restarted).
"""

import re
from collections.abc import Sequence

_SECRET = re.compile(
    r"(trunkline\.hidden|(?:trunkline\.[a-z-]+|_I\.worker)\.[^.\s]+)\.[\w-]{16}(?![\w-])",
    re.IGNORECASE,
)
_SHOWN = 300
"""Characters of a value that a message repeats."""


class TrunklineError(Exception):
    """The root of all errors that Trunkline raises on purpose."""


def _quoted(value: str) -> str:
    """Return a value as a message shows it: one of megabytes would not fit into an answer."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def said(error: BaseException) -> str:
    """Return what an error says, or the words of its name where it says nothing, as one of time does."""
    name = type(error).__name__.removesuffix("Error")
    return str(error).strip() or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def shown(subject: str) -> str:
    """Return a subject without what keeps it from being guessed (see `wards`).

    Messages of errors reach logs, events and answers, which more people read than may know that.
    """
    return _SECRET.sub(r"\1.*", subject)


class InvalidNameError(TrunklineError):
    """A name cannot become a subject token."""

    def __init__(self, kind: str, name: str, rule: str) -> None:
        super().__init__(f"{kind} {_quoted(name)} is not valid: it must be {rule}")
        self.kind, self.name, self.rule = kind, name, rule


class InvalidPathError(TrunklineError):
    """A file path cannot stand in a repo."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"path {_quoted(path)} is not valid in a repo: {reason}")
        self.path, self.reason = path, reason


class InvalidGlobError(TrunklineError):
    """A glob pattern cannot be parsed."""

    def __init__(self, glob: str, reason: str) -> None:
        super().__init__(f"glob {_quoted(glob)} cannot be parsed: {reason}")
        self.glob, self.reason = glob, reason


class InvalidScheduleError(TrunklineError):
    """A cron expression cannot be parsed."""

    def __init__(self, schedule: str, reason: str) -> None:
        super().__init__(f"schedule {_quoted(schedule)} cannot be parsed: {reason}")
        self.schedule, self.reason = schedule, reason


class InvalidKeyError(TrunklineError):
    """A text that is to be made of a glob's groups, such as `$1-$2`, names none that is there."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"key {_quoted(key)} cannot be made: {reason}")
        self.key, self.reason = key, reason


class InvalidSpecError(TrunklineError):
    """A pipeline spec was refused; `problems` holds every reason, each with its JSON path."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        lines = "; ".join(f"{path}: {text}" for path, text in problems)
        super().__init__(f"the pipeline spec is not valid: {lines}")
        self.problems = list(problems)


class NotFoundError(TrunklineError):
    """Something that was named does not exist."""

    def __init__(self, kind: str, name: str, remedy: str = "") -> None:
        super().__init__(
            f"{kind} {_quoted(name)} does not exist" + (f"; {remedy}" if remedy else "")
        )
        self.kind, self.name = kind, name


class AlreadyExistsError(TrunklineError):
    """Something that was to be made is there already."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} exists already")
        self.kind, self.name = kind, name


class ConflictError(TrunklineError):
    """Somebody else changed the thing since it was read: read it again and repeat."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} changed since it was read; read it again and repeat")
        self.kind, self.name = kind, name


class RequestRefusedError(TrunklineError):
    """The coordinator answered a request with errors; `problems` holds (JSON path, text) pairs."""

    def __init__(self, code: str, problems: Sequence[tuple[str, str]]) -> None:
        text = "; ".join(f"{path}: {text}" if path else text for path, text in problems)
        super().__init__(text or code)
        self.code, self.problems = code, list(problems)


class UnavailableError(TrunklineError):
    """A server did not answer in time; whether the request took effect is unknown."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{shown(what)} is not available: {reason}")
        self.what, self.reason = what, reason


class NotLeadingError(UnavailableError):
    """This process does not lead its service, or cannot be sure of it right now: nothing was sent."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "this process does not lead right now")


class PermissionViolationError(TrunklineError):
    """The server refused a subject to this connection: a fault of ours, never to be retried."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"the NATS server refused this connection the subject {shown(subject)!r}")
        self.subject = subject


class CorruptObjectError(TrunklineError):
    """Stored bytes are not what was written: their sha256 differs."""

    def __init__(self, key: str, expected: str, found: str) -> None:
        super().__init__(f"object {_quoted(key)} is corrupt: its sha256 is {found}, not {expected}")
        self.key, self.expected, self.found = key, expected, found


class MalformedMessageError(TrunklineError):
    """A message cannot be decoded: it is dropped and told, never retried."""

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(f"message on {shown(subject)!r} cannot be decoded: {reason}")
        self.subject, self.reason = subject, reason


class DuplicatePathError(TrunklineError):
    """Two datums of one job wrote the same path."""

    def __init__(self, path: str, first: str, second: str) -> None:
        super().__init__(
            f"datums {first} and {second} both wrote {path!r}; let each datum write paths of its"
            ' own, or set "same_path": "concatenate" in the spec'
        )
        self.path, self.first, self.second = path, first, second


class RefusedError(TrunklineError):
    """The server did not store a publish; `code` is JetStream's error code."""

    WRONG_LAST_SEQUENCE = 10071
    STORE_FAILED = 10077
    """Any store failure: a subject that holds its one message already, but also a full stream."""

    def __init__(self, subject: str, code: int, description: str) -> None:
        super().__init__(f"publish on {shown(subject)!r} was refused: {description} ({code})")
        self.subject, self.code, self.description = subject, code, description
