"""Runs references and peers as programs, each peer in a virtual environment made when first asked."""

import asyncio
import json
import os
import sys
from pathlib import Path

from bench import figures
from trunkline.local import server

HERE = Path(__file__).parent
PEERS = {path.stem: path for path in sorted((HERE / "peers").glob("*.txt"))}
"""Name -> pinned requirements."""

DEADLINE_S = 300


async def reference(name: str, workload: str, count: int, *, sleep_s: float = 0.0) -> figures.Run:
    """Run a reference with this interpreter."""
    return await _run(sys.executable, f"bench.references.{name}", workload, name, count, sleep_s)


async def peer(name: str, workload: str, count: int) -> figures.Run:
    """Run a peer in its own virtual environment."""
    python = await _environment(name)
    return await _run(python, f"bench.peers.{name}", workload, name, count, 0.0)


async def _environment(name: str) -> str:
    folder = HERE / ".venvs" / name
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = PEERS[name].read_text()
    if not ready.exists() or ready.read_text() != wanted:
        await _call(sys.executable, "-m", "venv", "--clear", str(folder))
        await _call(str(python), "-m", "pip", "install", "--quiet", "-r", str(PEERS[name]))
        ready.write_text(wanted)
    return str(python)


async def _run(
    python: str, module: str, workload: str, name: str, count: int, sleep_s: float
) -> figures.Run:
    options = [
        "--count",
        str(count),
        "--sleep",
        str(sleep_s),
        "--server",
        str(server.find_binary(os.environ)),
    ]
    output = await _call(python, "-m", module, *options)
    told = next(line for line in reversed(output.splitlines()) if line.startswith('{"count"'))
    return figures.Run(workload, name, **json.loads(told))


async def _call(*command: str) -> str:
    # Some write into the home directory as soon as they start.
    home = str(HERE / ".venvs")
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "HOME": home}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            output, trouble = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    if process.returncode:
        last = trouble.decode(errors="replace")[-2000:]
        told = f"{' '.join(command)} ended with {process.returncode}:\n{last}"
        raise RuntimeError(told)
    return output.decode()
