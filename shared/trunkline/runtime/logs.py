"""Logs: one JSON line per event when piped, readable lines on a terminal.

A message is a constant phrase; what varies goes into `extra`. The same key means the same thing
everywhere: `log_keys` lists them. What others have written commands no terminal (`terminals`). How many records of a phrase are written is bounded (`pacing`).
"""

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from trunkline.contracts import traces
from trunkline.runtime import log_keys, pacing, tracing
from trunkline.runtime.terminals import harmless, harmless_json
from trunkline.runtime.terminals import line as one_line

log = logging.getLogger(__name__)

_ABOUT = ("task", "future", "handle", "protocol", "transport", "socket")
"""What a loop knows of a failure, by the names of `call_exception_handler`."""
_UNFIT = (TypeError, ValueError, OverflowError, RecursionError)
"""What comes of a value that no JSON holds: a lone surrogate, a number over 64 bits, a list within itself."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object per record: `at`, `level`, `service`, `message`, and what `extra` brought."""

    def __init__(self, service: str, always: Mapping[str, str] = {}) -> None:
        super().__init__()
        self.service, self.always = service, always

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "at": at,
            "level": record.levelname.lower(),
            "service": self.service,
            "message": _message(record),
            **self.always,
            **_extra(record),
        }
        if trace := traces.trace(tracing.current.get()):
            line["trace"] = trace
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return harmless_json(_json(line))


class Readable(logging.Formatter):
    """A line for people: time, service, phrase, and `key=value` of what `extra` brought."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of text."""
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        extra = " ".join(f"{key}={value}" for key, value in _extra(record).items())
        error = ""
        if record.exc_info:  # whoever was answered with it knows no more than its trace
            trace = traces.trace(tracing.current.get())
            extra += f" trace={trace}" if trace else ""
            error = f"\n{self.formatException(record.exc_info)}"
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        text = one_line(f"{at} {self.service:<12} {level}{_message(record)}  {extra}".rstrip())
        return f"{text}{harmless(error)}"


def configure(
    service: str,
    *,
    level: int = logging.INFO,
    stream: TextIO = sys.stderr,
    **always: str,
) -> None:
    """Send all logs of this process to the stream, as JSON lines unless it is a terminal.

    Args:
        service: Whose they are.
        level: Of what is written, at least.
        stream: Where to.
        always: What holds of each record, for who reads lines of many processes.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Readable(service) if stream.isatty() else JsonLines(service, always))
    handler.addFilter(pacing.Paced(handler, time.monotonic))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def say_failures(loop: asyncio.AbstractEventLoop) -> None:
    """Log what nobody has waited for under one phrase: asyncio's own handler puts what failed into it, so each would be a new one."""
    loop.set_exception_handler(_failed)


def _failed(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    about = [f"{key}={context[key]!r}" for key in _ABOUT if key in context]
    reason = " ".join([str(context.get("message", "")), *about])
    error = context.get("exception")
    log.error("something failed that nobody waits for", exc_info=error, extra={"reason": reason})


def left_out() -> int:
    """Return how many records of this process were not written, since there were too many of a phrase."""
    return sum(
        each.left_out
        for handler in logging.getLogger().handlers
        for each in handler.filters
        if isinstance(each, pacing.Paced)
    )


def _extra(record: logging.LogRecord) -> dict[str, object]:
    """Return what `extra` brought; what is named as a key of every record, with an underscore behind it."""
    found = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return {f"{key}_" if key in log_keys.STANDARD else key: each for key, each in found.items()}


def _message(record: logging.LogRecord) -> str:
    """Return what is said; where what it is to hold does not fit into it, both as they are."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError, IndexError):
        return f"{record.msg} {record.args}"


def _json(line: Mapping[str, object]) -> str:
    """Return it as JSON, whatever it holds: a record that is lost may be the one that is looked for."""
    try:
        return _encoded(line)
    except _UNFIT:
        return _encoded({_fit(key): _fit(value) for key, value in line.items()})


def _encoded(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _fit(value: Any) -> Any:  # noqa: ANN401 - whatever was logged
    """Return a value that JSON holds, else its text, with what is no UTF-8 of it as escapes."""
    try:
        _encoded(value)
    except _UNFIT:
        return str(value).encode(errors="backslashreplace").decode()
    return value
