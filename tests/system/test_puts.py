"""Putting files: one commit or none, whoever else puts at the same time."""

import asyncio
import io
import os
from pathlib import Path

import pytest
from tests.support.installation import Installation

from trunkline.client import files, uploading
from trunkline.client.files import Source
from trunkline.contracts import errors


async def test_puts_at_the_same_time_lose_nothing_of_each_other(here: Installation) -> None:
    await here.repo("together")
    names = [f"/from-{number}" for number in range(8)]
    commits = await asyncio.gather(*(here.put("together", {name: b"x"}) for name in names))
    assert len(set(commits)) == len(names)
    assert sorted(await here.content("together")) == names
    # each commit holds what the one before held, and one file more
    counts = [len(await here.content("together", commit)) for commit in commits]
    assert sorted(counts) == list(range(1, len(names) + 1))


async def test_a_put_that_is_cut_off_leaves_no_commit(here: Installation, tmp_path: Path) -> None:
    await here.repo("cut-off")
    before = await here.put("cut-off", {"/a": b"kept"})
    for number in range(50):
        (tmp_path / f"{number}").write_bytes(os.urandom(200_000))

    def cut(done: int, _total: int, _size: int) -> None:
        if done == 25:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await files.put(here.client, "cut-off", "master", tmp_path, progress=cut)
    assert list(await here.content("cut-off")) == ["/a"]
    assert list(await here.content("cut-off", before)) == ["/a"]
    put = await files.put(here.client, "cut-off", "master", tmp_path)
    assert put.files == 51


async def test_of_a_large_file_it_is_told_how_much_of_it_is_there(
    here: Installation, tmp_path: Path
) -> None:
    await here.repo("large")
    size = 20_000_000
    (tmp_path / "large").write_bytes(os.urandom(size))
    told: list[tuple[int, int, int]] = []
    await files.put(
        here.client, "large", "master", tmp_path, progress=lambda *each: told.append(each)
    )
    assert told == sorted(told)
    assert (told[0], told[-1]) == ((0, 1, 0), (1, 1, size))
    within = {done for count, _, done in told if count == 0}
    assert len(within) > 4
    assert size in within


async def test_a_path_cannot_be_a_file_and_a_directory(here: Installation) -> None:
    await here.repo("either")
    await here.put("either", {"/a": b"1"})
    with pytest.raises(errors.InvalidPathError):
        await here.put("either", {"/a/b": b"2"})
    twice = [Source("/c", io.BytesIO(b"1")), Source("/c", io.BytesIO(b"2"))]
    with pytest.raises(errors.InvalidPathError):
        await files.put(here.client, "either", "master", twice)
    assert list(await here.content("either")) == ["/a"]


async def test_globs_choose_what_is_listed_and_read(here: Installation) -> None:
    await here.repo("chosen")
    big = os.urandom(3_000_000)
    await here.put("chosen", {"/a/1": b"one", "/a/2": b"", "/ab/3": b"three", "/big": big})

    async def listed(pattern: str) -> list[str]:
        return [file.path async for file in files.ls(here.client, "chosen", "master", pattern)]

    assert await listed("/") == ["/a/1", "/a/2", "/ab/3", "/big"]
    assert await listed("/a") == ["/a/1", "/a/2"]
    assert await listed("/a*") == ["/a/1", "/a/2", "/ab/3"]
    assert await listed("/*/[23]") == ["/a/2", "/ab/3"]
    assert await listed("/a/1/x") == []
    pieces = [piece async for piece in files.cat(here.client, "chosen", "master", "/**")]
    assert b"".join(pieces) == b"onethree" + big


def test_what_is_no_file_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(uploading.UnreadableSourceError, match="pipe"):
        files.sources(tmp_path)
    with pytest.raises(uploading.UnreadableSourceError):
        files.sources(tmp_path / "missing")


def test_a_directory_goes_below_where_it_is_put(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f").write_text("x")
    paths = [each.path for each in files.sources(tmp_path, "there")]
    assert paths == ["/there/d/e/f"]
    file = tmp_path / "d" / "e" / "f"
    assert [each.path for each in files.sources(file)] == ["/f"]
    assert [each.path for each in files.sources(file, "x/")] == ["/x/f"]
    assert [each.path for each in files.sources(file, "x/g")] == ["/x/g"]
