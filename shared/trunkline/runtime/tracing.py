"""The trace that what runs now belongs to: set where a request, a job or a datum is taken in hand.

It goes with the task and those that are started by it, into log lines (`logs`) and the headers of messages.
"""

import contextlib
import random
import secrets
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

from trunkline.contracts import traces

current: ContextVar[str] = ContextVar("traceparent", default="")


def of_environment(environ: Mapping[str, str]) -> str:
    """Return the trace that this process was started in, or a new one."""
    return traces.parsed(environ.get(traces.VARIABLE, "")) or traces.made(
        secrets.token_hex(16), secrets.token_hex(8)
    )


def child(parent: str) -> str:
    """Return a new span of a trace; it need not be hard to guess."""
    return traces.child(parent, f"{random.getrandbits(64) | 1:016x}")


def begin(headers: Mapping[str, str]) -> None:
    """Let what this task does from now on belong to the trace that came with a message."""
    current.set(traces.parsed(headers.get(traces.HEADER, "")))


def known() -> str:
    """Return the digits by which log lines of what this task does are found; a new trace where it has none."""
    if not current.get():
        current.set(of_environment({}))
    return traces.trace(current.get())


@contextlib.contextmanager
def within(traceparent: str) -> Iterator[None]:
    """Let what is done in the block belong to a trace."""
    token = current.set(traceparent)
    try:
        yield
    finally:
        current.reset(token)


def headers(traceparent: str = "") -> dict[str, str]:
    """Return the headers that hand on this trace, or else the one that what runs now belongs to."""
    found = traceparent or current.get()
    return {traces.HEADER: found} if found else {}
