"""Virtual environments of the bench's own, made when first asked for: one for each peer, and for tools."""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
VENVS = HERE / ".venvs"
PEERS = {path.stem: path for path in sorted((HERE / "peers").glob("*.txt"))}
"""Name -> pinned requirements."""
TOOLS = {path.stem: path for path in sorted((HERE / "tools").glob("*.txt"))}

PROGRAMS = {"celery": "redis-server", "taskiq": "redis-server"}
"""Peer -> what it needs that pip does not bring."""


class FailedError(Exception):
    """A program did not do what it was started for."""


def missing(peers: list[str]) -> str:
    """Return what keeps these peers from running, with the remedy; empty if nothing does."""
    unknown = [each for each in peers if each not in PEERS]
    if unknown:
        return f"no such peers: {', '.join(unknown)}; there are {', '.join(PEERS)}"
    for each in peers:
        program = PROGRAMS.get(each)
        if program and shutil.which(program) is None:
            return f"{each} needs {program}; on Debian: apt-get install {program}"
    return ""


async def python(name: str) -> str:
    """Return the interpreter of an environment with what its requirements name."""
    wanted = {**PEERS, **TOOLS}[name]
    folder = VENVS / name
    found, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists() or ready.read_text() != wanted.read_text():
        await call(sys.executable, "-m", "venv", "--clear", str(folder))
        await call(str(found), "-m", "pip", "install", "--quiet", "-r", str(wanted))
        ready.write_text(wanted.read_text())
    return str(found)


async def call(*command: str, env: Mapping[str, str] | None = None, deadline_s: float = 600) -> str:
    """Run a program; return what it prints, or raise FailedError with the end of its complaints."""
    # Some write into the home directory as soon as they start.
    VENVS.mkdir(exist_ok=True)
    told = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(VENVS), **(env or {})}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=told
    )
    try:
        async with asyncio.timeout(deadline_s):
            output, trouble = await process.communicate()
    except TimeoutError:
        process.kill()
        told_s = f"{' '.join(command)} took more than {deadline_s:g} s"
        raise FailedError(told_s) from None
    if process.returncode:
        last = trouble.decode(errors="replace")[-2000:]
        text = f"{' '.join(command)} ended with {process.returncode}:\n{last}"
        raise FailedError(text)
    return output.decode()
