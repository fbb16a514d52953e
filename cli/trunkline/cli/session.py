"""How a verb's body runs: connected to an installation, its errors turned into one line and a code.

| code | when |
|---|---|
| 0 | done |
| 1 | refused, or failed |
| 2 | wrong usage (click's own) |
| 3 | not reachable, or no answer in time |
| 4 | what was waited for ended in another state than SUCCESS |
| 5 | not found |
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from trunkline.cli import saying
from trunkline.cli.options import Asked
from trunkline.client import client as clients
from trunkline.client.client import Client
from trunkline.contracts import errors
from trunkline.local import home as homes
from trunkline.runtime import settings
from trunkline.runtime.terminals import harmless

T = TypeVar("T")

FAILED = 1
UNREACHABLE = 3
UNSUCCESSFUL = 4
NOT_FOUND = 5


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """Read from `TRUNKLINE_<FIELD>`."""

    patience_s: float = 30.0
    """Seconds for which a server is looked for, and a request repeated that has no answer: a server that is silent is given up
    by its clients after 15, and one that comes up with much to read takes some more."""


class UnsuccessfulError(errors.TrunklineError):
    """What was waited for ended in another state than SUCCESS."""

    def __init__(self, jobs: Sequence[str]) -> None:
        super().__init__(f"not successful: {', '.join(jobs)}")
        self.jobs = jobs


def run(asked: Asked, body: Callable[[Client], Awaitable[T]]) -> T:
    """Connect to the installation, run the body, and leave with its code."""

    async def connected(context: homes.Context) -> T:
        patience_s = settings.load(Patience, os.environ).patience_s
        async with clients.connect(
            context.url,
            context.store,
            connect_s=patience_s,
            patience_s=patience_s,
            tell=lambda line: saying.tell(f"trunkline: {line}"),
        ) as client:
            return await body(client)

    with reporting():
        return asyncio.run(connected(where(asked.home)))


def where(home: str | None) -> homes.Context:
    """Return how to reach the installation: --home first, then URLs, then the state directory."""
    if home is None and (named := _named()) is not None:
        return named
    return home_of(home).read_context()


def here(home: str | None) -> homes.Home | None:
    """Return the state directory that is asked through; None where URLs name an installation anywhere."""
    return None if home is None and _named() is not None else home_of(home)


def _named() -> homes.Context | None:
    url, store = os.environ.get("TRUNKLINE_URL"), os.environ.get("TRUNKLINE_STORE")
    return homes.Context(url=url, store=store) if url and store else None


def home_of(home: str | None) -> homes.Home:
    """Return the state directory that the options and the environment name."""
    return homes.Home(Path(home) if home else homes.default_root(os.environ))


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Turn our errors into lines on stderr and an exit code; a fault of ours keeps its traceback."""
    told = logging.StreamHandler()
    told.setFormatter(_Told("trunkline: %(message)s"))
    logging.basicConfig(level=logging.ERROR, handlers=[told], force=True)
    try:
        yield
    except BaseExceptionGroup as group:
        error = _only(group)
        if not isinstance(error, _TOLD):
            raise
        leave(error)
    except _TOLD as error:
        leave(error)


class _Told(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return harmless(super().format(record))


_TOLD = (errors.TrunklineError, OSError, TimeoutError, KeyboardInterrupt)


def leave(error: BaseException) -> None:
    """Say what went wrong on stderr, and end with the code that stands for it."""
    code = FAILED
    lines = [str(error)]
    match error:
        case KeyboardInterrupt():
            code, lines = 130, ["interrupted"]
        case BrokenPipeError():
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, sys.stdout.fileno())
            raise SystemExit(141)
        case errors.RequestRefusedError():
            code = _REFUSALS.get(error.code, FAILED)
            lines = [f"{path}: {text}" if path else text for path, text in error.problems]
        case errors.InvalidSpecError():
            lines = [f"{path}: {text}" for path, text in error.problems]
        case errors.NotFoundError():
            code = NOT_FOUND
        case UnsuccessfulError():
            code = UNSUCCESSFUL
        case errors.UnavailableError() | homes.NotRunningError() | TimeoutError():
            code = UNREACHABLE
        case OSError(strerror=str(why), filename=str(file)):
            lines = [f"{file}: {why}"]
        case _:
            pass
    for line in lines or [type(error).__name__]:
        saying.tell(f"trunkline: {line}")
    raise SystemExit(code)


_REFUSALS = {"not-found": NOT_FOUND, "unavailable": UNREACHABLE}


def _only(error: BaseException) -> BaseException:
    """Return the one error in a group of groups; the first, where there are more."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
