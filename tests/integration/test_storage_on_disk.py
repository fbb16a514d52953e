"""The store on a real disk: one that is full, and a writer that is killed."""

import hashlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.storage import keys
from trunkline.storage.store import open_store

FULL = """
import asyncio, os, sys
from pathlib import Path
from trunkline.contracts import errors
from trunkline.contracts.messages import File
from trunkline.storage import keys, trees
from trunkline.storage.sorting import Sorter
from trunkline.storage.store import open_store


async def expect_unavailable(call):
    try:
        await call
    except errors.UnavailableError as error:
        assert "No space left" in str(error), error
        assert "\\n" not in str(error)
    else:
        raise AssertionError("a full disk took it")


async def main(disk, elsewhere):
    store = open_store(f"file://{disk}/store")
    first = await store.put(b"first")
    large = elsewhere / "large"
    large.write_bytes(os.urandom(12_000_000))
    await expect_unavailable(store.put(os.urandom(2_000_000)))
    with large.open("rb") as opened:
        await expect_unavailable(store.put_stream(opened))
    await expect_unavailable(trees.upload(store, elsewhere))
    left = [path for path in (disk / "store" / "objects").rglob("*") if path.is_file()]
    assert [path.name for path in left] == [keys.sha256(first)], left
    assert await store.get(first) == b"first"

    other = open_store(f"file://{elsewhere}/store")
    with large.open("rb") as opened:
        key = (await other.put_stream(opened)).key
    file = File(path="/large", size=12_000_000, sha256=keys.sha256(key), object=key)
    await expect_unavailable(trees.download(other, [file], disk / "in"))
    assert not (disk / "in/large").exists()
    with Sorter(disk / "spool", kept=100) as sorter:
        await expect_unavailable(
            sorter.add((File(path=f"/{n:0250}/{n:0250}", size=1, sha256="ab" * 32) for n in range(9_999)), 1)
        )

    assert await store.get(await store.put(b"again")) == b"again"  # it works once there is space


asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
print("passed")
"""

WRITER = """
import asyncio, os, sys
from pathlib import Path
from trunkline.storage.store import open_store


async def main(url, large):
    store = open_store(url)
    print("started", flush=True)
    while True:
        data = os.urandom(3_000_000)
        await store.put(data)
        large.write_bytes(data * 4)
        with large.open("rb") as opened:
            await store.put_stream(opened)


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
"""


def may_mount() -> bool:
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    command = [unshare, "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs a mount namespace")
def test_a_full_disk_is_unavailable_with_its_reason_and_leaves_no_litter(tmp_path):
    disk, elsewhere = tmp_path / "disk", tmp_path / "elsewhere"
    disk.mkdir()
    elsewhere.mkdir()
    script = f'mount -t tmpfs -o size=1m tmpfs "{disk}" && exec "$0" -c "$1" "{disk}" "{elsewhere}"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable, FULL],
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    assert done.stdout == "passed\n", done.stderr


def test_a_killed_writer_leaves_whole_objects_or_none(tmp_path):
    store = open_store(f"file://{tmp_path}/store")
    root = tmp_path / "store"
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, store.url, str(tmp_path / "large")],
            stdout=subprocess.PIPE,
        )
        with writer:
            before = len(objects(root))
            assert writer.stdout is not None
            writer.stdout.readline()
            while len(objects(root)) < before + 2:
                assert writer.poll() is None
            writer.send_signal(signal.SIGKILL)
    for path in objects(root):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        keys.sha256(str(path.relative_to(root)))


def objects(root: Path) -> list[Path]:
    """All objects under their final names (a name with a `#` is being written)."""
    return [path for path in root.glob("objects/*/*") if "#" not in path.name]
