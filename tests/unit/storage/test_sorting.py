import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.contracts import errors, names
from trunkline.contracts.messages import File
from trunkline.storage import keys, manifests, sorting


def entry(path, size=1):
    return File(path=path, size=size, sha256="ab" * 32, object=keys.of("cd" * 32), offset=size)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def collected(sorter):
    return [pair async for pair in sorter.sorted()]


@pytest.mark.parametrize("kept", [1, 7, 10_000])
async def test_files_of_many_datums_come_out_in_order(tmp_path, kept):
    chance = random.Random(1)
    pairs = [(entry(f"/{chance.randrange(50)}-x/{n}", n), chance.randrange(9)) for n in range(500)]
    with sorting.Sorter(tmp_path / "spool", kept=kept) as sorter:
        for file, index in pairs:
            await sorter.add([file], index)
        assert sorter.count == 500
        found = await collected(sorter)
    assert found == sorted(pairs, key=lambda pair: (names.path_key(pair[0].path), pair[1]))


async def test_equal_paths_follow_each_other_lowest_index_first(tmp_path):
    with sorting.Sorter(tmp_path, kept=2) as sorter:
        await sorter.add([entry("/a"), entry("/b")], 7)
        await sorter.add([entry("/b"), entry("/c")], 3)
        found = [(file.path, index) for file, index in await collected(sorter)]
    assert found == [("/a", 7), ("/b", 3), ("/b", 7), ("/c", 3)]


async def test_nothing_is_sorted_to_nothing(tmp_path):
    with sorting.Sorter(tmp_path) as sorter:
        assert await collected(sorter) == []


async def test_spilled_files_have_no_name_and_are_gone_afterwards(tmp_path):
    before = open_files()
    with sorting.Sorter(tmp_path, kept=1) as sorter:
        for n in range(200):
            await sorter.add([entry(f"/{n}")], n)
        assert list(tmp_path.iterdir()) == []
        assert open_files() <= before + sorting._MOST_PARTS + 1
        assert len(await collected(sorter)) == 200
    assert open_files() == before


async def test_a_spool_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    sorter = sorting.Sorter(tmp_path / "file", kept=1)
    with sorter, pytest.raises(errors.UnavailableError, match="file"):
        await sorter.add([entry("/a")], 0)


@pytest.mark.parametrize("path", ["/../x", "x", "/", "/a/"])
async def test_a_path_that_no_manifest_holds_is_refused(tmp_path, path):
    with sorting.Sorter(tmp_path) as sorter, pytest.raises(errors.InvalidPathError):
        await sorter.add([entry(path)], 0)


texts = st.text(alphabet="0af/ob", max_size=4)
numbers = st.one_of(st.integers(), st.integers(-2, 70).map(lambda n: 1 << n if n > 0 else n))


@given(texts, texts, numbers, numbers)
async def test_a_file_that_names_impossible_bytes_is_malformed(sha256, stored_in, size, offset):
    hostile = File(path="/a", size=size, sha256=sha256, object=stored_in, offset=offset)
    with pytest.raises(errors.MalformedMessageError):
        manifests.encode(hostile)
