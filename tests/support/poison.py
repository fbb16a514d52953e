"""Garbage on every subject that a role may publish to, as that role, by the plainest of connections."""

import asyncio
import contextlib
import itertools
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import msgspec
from tests.support import subjects_table

from trunkline.bus import permissions
from trunkline.contracts import subjects
from trunkline.contracts.wards import Wards

TOO_LARGE = 8 * 1024 * 1024


def garbage() -> Iterator[bytes]:
    """Yield messages that nobody can read: random bytes, of another version, as large as may be."""
    yield secrets.token_bytes(4096)
    yield b'{"type": "datum-task.v999", "pipeline": 7, "jobs": "x", "worker": {}}'
    yield b"[" * 1_000_000


class Aim(msgspec.Struct, frozen=True, kw_only=True):
    """What is there, and is to be hit."""

    wards: Wards
    pipeline: str
    job: str
    worker: str


def targets(role: permissions.Role, aim: Aim) -> list[str]:
    """Return each subject of the table that the role may publish to, about what it is aimed at.

    Of buckets, keys that no record has: who may write a record may lose it.
    """
    allowed = permissions.of(role, aim.wards, aim.pipeline)
    found = {
        subject
        for subject in _subjects(aim)
        if any(_matches(each, subject) for each in allowed.publish)
        and not any(_matches(each, subject) for each in allowed.deny_publish)
    }
    return sorted(found)


def _subjects(aim: Aim) -> Iterator[str]:
    values: dict[str, object] = {
        "pipeline": aim.pipeline,
        "ward": aim.wards.of(aim.pipeline),
        "wards": aim.wards,
        "job": aim.job,
        "index": 0,
        "generation": 1,
        "sequence": 1,
        "worker": aim.worker,
        "kind": "attempt",
        "verb": "pipeline.apply",
        "stream": "stdout",
    }
    for title, name, wire, _ in subjects_table.entries():
        called, _, parameters = name.partition("(")
        names = [each for each in parameters.rstrip(")").split(", ") if each]
        if title.endswith("buckets"):
            yield from (f"$KV.{wire}.nobody", f"$KV.{wire}.nobody.{aim.job}")
        elif not parameters:
            yield _concrete(wire, aim)
        elif called != "data_api" and values.keys() >= set(names):
            made = getattr(subjects, called)(*(values[each] for each in names))
            yield _concrete(str(made), aim)
    yield subjects.ack(aim.pipeline, aim.job, 1)


def _concrete(subject: str, aim: Aim) -> str:
    """Return a subject that a filter matches: of the pipeline, and of a job that is not there."""
    own = str(aim.wards.of(aim.pipeline)).split(".")
    named = [*([] if own[0] in subject else own), "f" * 32]
    filled = itertools.chain(named, itertools.repeat("0"))
    tokens = subject.split(".")
    return ".".join("nobody.0" if t == ">" else next(filled) if t == "*" else t for t in tokens)


def _matches(pattern: str, subject: str) -> bool:
    regex = re.escape(pattern).replace(r"\*", "[^.]+").replace(">", ".+")
    return re.fullmatch(regex, subject) is not None


class Poisoner:
    """A connection that checks nothing of what it sends; `async with Poisoner.at(url)`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, url: str) -> AsyncIterator["Poisoner"]:
        """Connect as the URL says."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            await reader.readline()
            who = {"user": parts.username, "pass": parts.password}
            options = {"verbose": False, "pedantic": False, "lang": "x", "version": "0", **who}
            writer.write(b"CONNECT " + msgspec.json.encode(options) + b"\r\nPING\r\n")
            assert await reader.readline() == b"PONG\r\n"
            yield cls(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def send(self, subject: str, *messages: bytes) -> None:
        """Send messages; return once the server has taken them."""
        for each in messages:
            self._writer.write(f"PUB {subject} {len(each)}\r\n".encode() + each + b"\r\n")
        await self._writer.drain()
        self._writer.write(b"PING\r\n")
        while (line := await self._reader.readline()) != b"PONG\r\n":
            assert line, f"the server hung up on {subject}"
            assert not line.startswith(b"-ERR"), (subject, line)

    async def refused(self, subject: str) -> bytes:
        """Announce a message of 8 MB; return why the server hangs up."""
        self._writer.write(f"PUB {subject} {TOO_LARGE}\r\n".encode())
        told = await self._reader.readline()
        assert await self._reader.read() == b""
        return told
