"""The processes of `tilt up -- --mode=local` as the Tiltfile says, and the demo on them; `tilt` itself does it where it is found."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from tests.support import tilt
from tests.support.tiltfile import PATH, PROJECT, Tiltfile

from trunkline.local import home as homes
from trunkline.local import scraping, server_files, stack

FILES = 120
"""So many that a worker is still at work when the demo looks for one to kill."""
SERVICES = ("coordinator", "scaler")


@pytest.fixture
def folder() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="tl-"))
    yield root
    shutil.rmtree(root, ignore_errors=True)


def arguments(folder: Path) -> list[str]:
    """Return arguments for a state directory and ports of its own."""
    first, *_ = (
        port
        for port in server_files.more(set(), 20)
        if all(server_files._free(port + number) for number in range(3))
    )
    return [
        *("--mode=local", f"--state={folder / 'state'}", f"--port={first}"),
        *("--nodes=2", f"--files={FILES}"),
    ]


async def test_the_demo_runs_on_processes_that_nobody_supervises(folder: Path) -> None:
    """1. All start in their order, and are ready.

    2. The demo counts right, with a worker killed midway.
    3. A supervisor is refused the directory.
    4. The coordinator is started anew, as a change of its files does it.
    5. The demo finds all done before.
    """
    found = Tiltfile(*arguments(folder), subcommand="ci", VENV=sys.prefix, PATH=os.environ["PATH"])
    home = homes.Home(folder / "state")
    async with tilt.running(found, folder) as processes:
        assert set(processes.names) == {"nats", "worker-agent", "coordinator", "scaler"}
        said = await processes.run("demo")
        assert f"datums: {FILES + 1} processed" in said
        assert "*** SIGKILL to worker words-" in said
        with pytest.raises(stack.AlreadyRunningError):
            async with stack.running(home):
                pass
        await processes.start("coordinator")
        assert f"datums: 0 processed, {FILES + 1} skipped" in await processes.run("demo")
        assert "leader: coordinator" in await processes.run("status")
        async with aiohttp.ClientSession() as session:
            for url in [url for each in SERVICES for url in found[each]["links"]]:
                async with session.get(url["url"]) as response:
                    assert response.status == 200
        assert len(scraping.addresses(home)) == 2
    with pytest.raises(homes.NotRunningError):
        home.read_context()


def program() -> str | None:
    return os.environ.get("TILT") or shutil.which("tilt")


@pytest.mark.slow
@pytest.mark.skipif(program() is None, reason="no tilt: neither TILT nor PATH names one")
def test_tilt_itself_runs_it(folder: Path) -> None:
    words = [str(program()), "ci", "-f", str(PATH), "--port", "0", "--", *arguments(folder)]
    environ = {
        **os.environ,
        "KUBECONFIG": str(folder / "none"),
        "TILT_DISABLE_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
        "VENV": sys.prefix,
    }
    done = subprocess.run(
        words, cwd=PROJECT, env=environ, check=False, capture_output=True, text=True, timeout=140
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as in the plain count" in done.stdout
