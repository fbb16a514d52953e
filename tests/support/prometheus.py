"""A real Prometheus on loopback, and what it is asked.

It is the system's own (Debian: `apt-get install --no-install-recommends prometheus`); where it is missing, what needs
it fails and says so.
"""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

READY_S = 20.0
_LISTENS = re.compile(rb'msg="Listening on" address=(\S+)')


class NotInstalledError(AssertionError):
    """A program of Prometheus is not there."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not installed; Debian: apt-get install --no-install-recommends prometheus"
        )


class RefusedError(AssertionError):
    """An expression is none, or asks for what cannot be."""

    def __init__(self, expr: str, told: str) -> None:
        super().__init__(f"{told}: {expr}")


class Prometheus:
    """One that runs."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self._session = url, session

    async def ask(self, expr: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return the series of an expression at a time, or now."""
        asked = {"query": expr} if at is None else {"query": expr, "time": str(at)}
        found: list[dict[str, Any]] = await self._get("query", asked)
        return found

    async def course(
        self, expr: str, start: float, end: float, step: float
    ) -> list[dict[str, Any]]:
        """Return the series of an expression over a time."""
        asked = {"query": expr, "start": str(start), "end": str(end), "step": str(step)}
        found: list[dict[str, Any]] = await self._get("query_range", asked)
        return found

    async def targets(self) -> list[dict[str, Any]]:
        """Return whom it scrapes."""
        async with self._session.get(f"{self.url}/api/v1/targets") as answer:
            found: list[dict[str, Any]] = (await answer.json())["data"]["activeTargets"]
        return found

    async def _get(self, what: str, asked: Mapping[str, str]) -> Any:
        async with self._session.get(f"{self.url}/api/v1/{what}", params=asked) as answer:
            told = await answer.json()
        if told["status"] != "success":
            raise RefusedError(asked["query"], told["error"])
        return told["data"]["result"]


def program(name: str) -> str:
    """Return where a program of Prometheus is."""
    found = shutil.which(name)
    if found is None:
        raise NotInstalledError(name)
    return found


@asynccontextmanager
async def running(
    home: Path, scrapes: Sequence[Mapping[str, Any]], rules: Sequence[Path] = ()
) -> AsyncIterator[Prometheus]:
    """Run one in a folder, which scrapes by these configurations each second."""
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": list(scrapes),
    }
    (home / "prometheus.yml").write_bytes(msgspec.json.encode(config))  # which is YAML, too
    options = ("--web.listen-address=127.0.0.1:0", "--storage.tsdb.path=data")
    process = await asyncio.create_subprocess_exec(
        program("prometheus"),
        *("--config.file=prometheus.yml", *options),
        cwd=home,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    told: list[bytes] = []
    try:
        async with asyncio.timeout(READY_S):
            address = await _listens(process.stderr, told)
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(_read(process.stderr, told), name="log")
            async with asyncio.timeout(READY_S):
                await _ready(session, f"http://{address}")
            yield Prometheus(f"http://{address}", session)
            reading.cancel()
    except TimeoutError as error:
        raise AssertionError(b"".join(told[-10:]).decode()) from error
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _listens(log: asyncio.StreamReader, told: list[bytes]) -> str:
    """Return the address that it has taken."""
    async for line in log:
        told.append(line)
        if found := _LISTENS.search(line):
            return found.group(1).decode()
    raise AssertionError(b"".join(told).decode())


async def _read(log: asyncio.StreamReader, told: list[bytes]) -> None:
    while line := await log.readline():
        told.append(line)


async def _ready(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        async with session.get(f"{url}/-/ready") as answer:
            if answer.status == 200:
                return
        await asyncio.sleep(0.05)
