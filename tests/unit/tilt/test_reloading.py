"""What runs a service in a container whose code is replaced under it."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.tiltfile import PROJECT

RELOADING = PROJECT / "tilt" / "overlay" / "reloading.py"
SERVICE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("version", {version}, flush=True)
time.sleep(60)
"""


@asynccontextmanager
async def running(folder: Path, code: str) -> AsyncIterator[asyncio.subprocess.Process]:
    (folder / "service.py").write_text(code)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(RELOADING), "service"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        async with asyncio.timeout(20):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def heard(process: asyncio.subprocess.Process, wanted: str) -> None:
    assert process.stdout is not None
    while wanted not in (line := (await process.stdout.readline()).decode()):
        assert line, f"it ended without saying {wanted!r}"


async def test_changed_code_runs_after_a_signal_and_faulty_code_waits_for_the_next_one(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, SERVICE.format(version=1)) as process:
        await heard(process, "version 1")
        (tmp_path / "service.py").write_text("syntax error")
        process.send_signal(signal.SIGHUP)
        await heard(process, "waiting for it to be changed")
        (tmp_path / "service.py").write_text(SERVICE.format(version=2))
        process.send_signal(signal.SIGHUP)
        await heard(process, "version 2")
        process.terminate()
        assert await process.wait() == 0


async def test_what_ends_by_itself_ends_with_its_code(tmp_path: Path) -> None:
    async with running(tmp_path, "raise SystemExit(7)") as process:
        assert await process.wait() == 7
