"""A large file goes into a bucket in parts and comes back as a stream, whatever its size."""

import hashlib
import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.s3, pytest.mark.timeout(150)]

MEGABYTES = 256
_BODY = """
import asyncio, json, sys
from pathlib import Path
from trunkline.contracts.messages import File
from trunkline.storage.store import open_store

def peak_mb():
    # not ru_maxrss, which a new program takes over from the process that was forked for it
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024

async def main(url, source, target):
    store = open_store(url)
    await store.mark()
    await store.put(b"warm")
    before = peak_mb()
    with source.open("rb") as file:
        put = await store.put_stream(file)
    after_put = peak_mb()
    file = File(path="/f", size=put.size, sha256=put.sha256, object=put.key)
    await store.fetch(file, target)
    print(json.dumps([put.sha256, before, after_put, peak_mb()]))

asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
"""


def test_its_size_is_no_matter_of_memory(s3_url, tmp_path, capsys):
    source, target = tmp_path / "large", tmp_path / "again"
    digest = hashlib.sha256()
    with source.open("wb") as out:
        for number in range(MEGABYTES):
            piece = hashlib.sha256(b"%d" % number).digest() * (1024 * 1024 // 32)
            digest.update(piece)
            out.write(piece)
    ran = subprocess.run(
        [sys.executable, "-c", _BODY, s3_url, str(source), str(target)],
        capture_output=True,
        check=True,
        text=True,
    )
    sha256, before, after_put, after_get = json.loads(ran.stdout)
    assert sha256 == digest.hexdigest()
    assert hashlib.sha256(target.read_bytes()).hexdigest() == sha256
    with capsys.disabled():
        told = f"{before:.0f} MB before, {after_put:.0f} MB after the put, {after_get:.0f} MB after"
        print(f"\na file of {MEGABYTES} MB: peak RSS {told} the get")
    assert after_get - before < MEGABYTES / 2
