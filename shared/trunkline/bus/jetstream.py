"""The words of JetStream's API: subjects, error codes, times, and the shape of an ack subject."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from trunkline.contracts import errors

API = "$JS.API"
SECOND_NS = 1_000_000_000

CONSUMER_NOT_FOUND = 10014
STREAM_NOT_FOUND = 10059
STREAM_NAME_IN_USE = 10058
MESSAGE_TOO_LARGE = 10054
MESSAGE_NOT_THERE = frozenset({10037, 10043, 10057})
"""There is no message of this sequence (any more)."""
MSG_ID_IN_PROCESS = 10158
"""A message with this Msg-Id is being stored just now: ask again."""
BATCHES_NOT_ALLOWED = 10205
BATCH_UNKNOWN = 10208
BATCHES_TOO_MANY = 10211
"""Of fast ingest: the stream takes none, has given this one up, or has as many as it may."""
NO_RESPONDERS = 0
"""For an answer without data: no server, or no stream, listens; it has no code of its own."""
NO_ROOM = 10023
"""Of a message: the server has stored as much as it may (`max_file_store`, `max_memory_store`)."""
NOT_NOW = frozenset({10004, 10005, 10008, 10009, NO_ROOM, 10118, 10119, MSG_ID_IN_PROCESS})
"""The cluster has no leader, no resources, no answer or not the right server at this instant: ask again."""
EXHAUSTED = frozenset({10002, 10026, 10028, 10047})
"""A stream has as many consumers as it may, or an account or a server as much storage: not before others have let go."""


_UNAVAILABLE = 503


class JetStreamError(errors.TrunklineError):
    """JetStream answered an API request with an error."""

    def __init__(self, verb: str, code: int, err_code: int, description: str) -> None:
        super().__init__(f"JetStream refused {errors.shown(verb)}: {description} ({err_code})")
        self.verb, self.code, self.err_code, self.description = verb, code, err_code, description

    @property
    def passing(self) -> bool:
        """Whether to ask again: in a cluster servers and leaders come and go, with many codes for it."""
        return self.code == _UNAVAILABLE or self.err_code in NOT_NOW

    @property
    def exhausted(self) -> bool:
        """Whether it may be granted later, though not at once: others have what was asked for."""
        return self.err_code in EXHAUSTED


class NoRespondersError(errors.UnavailableError):
    """Nobody listens on the subject of a request: at this instant, or at all."""

    def __init__(self, subject: str) -> None:
        super().__init__(subject, "nobody listens there")


class ApiError(msgspec.Struct, frozen=True):
    """The `error` of an API answer or of a PubAck."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class PubAck(msgspec.Struct, frozen=True):
    """What the server answers to a publish into a stream."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


class AckSubject(NamedTuple):
    """What the reply subject of a delivered message tells."""

    delivered: int
    stream_sequence: int
    consumer_sequence: int
    at_ns: int
    pending: int
    """How many more match the consumer's filter after this one."""


def parse_ack(reply: str) -> AckSubject:
    """Return what stands in `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<five numbers>`."""
    tokens = reply.split(".")
    first = 4 if len(tokens) == 9 else 6
    return AckSubject(*map(int, tokens[first : first + 5]))


def decode_answer(verb: str, data: bytes) -> dict[str, Any]:
    """Return an API answer as a dict, or raise JetStreamError."""
    answer: dict[str, Any] = msgspec.json.decode(data)
    error = answer.get("error")
    if error:
        raise JetStreamError(
            verb, error.get("code", 0), error.get("err_code", 0), error.get("description", "")
        )
    return answer


def time_text(at_ns: int) -> str:
    """Return what `parse_time` takes."""
    return f"{datetime.fromtimestamp(at_ns // SECOND_NS, UTC):%Y-%m-%dT%H:%M:%S}.{at_ns % SECOND_NS:09d}Z"


def parse_time(text: str) -> int:
    """Return the nanoseconds since the epoch of `2026-01-31T12:00:00.123456789Z`."""
    seconds, _, rest = text.partition(".")
    whole = int(datetime.fromisoformat(seconds.rstrip("Z")).replace(tzinfo=UTC).timestamp())
    digits = rest.rstrip("Z")
    return whole * SECOND_NS + (int(digits.ljust(9, "0")[:9]) if digits else 0)
