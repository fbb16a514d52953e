"""Several datums that write one path: their contents in their order, whatever is large."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from trunkline.contracts import errors
from trunkline.contracts.messages import File
from trunkline.coordinator import concatenating
from trunkline.coordinator.concatenating import PieceError
from trunkline.storage import keys
from trunkline.storage.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


async def stored(store: Store, path: str, data: bytes) -> File:
    if not data:
        return File(path=path, size=0, sha256=keys.EMPTY_SHA256)
    sha256 = hashlib.sha256(data).hexdigest()
    return File(path=path, size=len(data), sha256=sha256, object=await store.put(data))


async def joined(
    store: Store, spool: Path, pieces: Sequence[tuple[str, bytes]]
) -> list[tuple[str, bytes]]:
    """Return what becomes of pieces; the n-th is of datum n, except that they are sorted by path."""
    items = [(await stored(store, path, data), index) for index, (path, data) in enumerate(pieces)]
    items.sort(key=lambda each: (each[0].path, each[1]))
    found = []
    async for file in concatenating.concatenated(store, spool, _stream(items)):
        data = b"".join([piece async for piece in store.read(file)])
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        found.append((file.path, data))
    return found


async def _stream(items: Sequence[tuple[File, int]]) -> AsyncIterator[tuple[File, int]]:
    for each in items:
        yield each


async def test_pieces_are_joined_in_the_order_of_the_datums_and_other_files_left_alone(
    store: Store, tmp_path: Path
) -> None:
    pieces = [("/log", b"one "), ("/a", b"own"), ("/log", b""), ("/z", b""), ("/log", b"three")]
    assert await joined(store, tmp_path / "spool", pieces) == [
        ("/a", b"own"),
        ("/log", b"one three"),
        ("/z", b""),
    ]
    assert await joined(store, tmp_path / "spool", [("/e", b""), ("/e", b"")]) == [("/e", b"")]
    assert await joined(store, tmp_path / "spool", []) == []


async def test_a_thousand_datums_may_write_one_path(store: Store, tmp_path: Path) -> None:
    pieces = [("/log", b"line %d\n" % number) for number in range(1000)]
    [(path, data)] = await joined(store, tmp_path, pieces)
    assert path == "/log"
    assert data.splitlines() == [b"line %d" % number for number in range(1000)]


async def test_large_pieces_and_small_ones_keep_their_order(store: Store, tmp_path: Path) -> None:
    """Small ones are read side by side, large ones by themselves; the whole goes to disk."""
    large, small = b"large" * 500_000, [b"small %d" % number for number in range(3)]
    pieces = [small[0], large, small[1], small[2], large]
    whole = b"".join(pieces)
    assert len(whole) > concatenating.KEPT_BYTES
    found = await joined(store, tmp_path / "spool", [("/big", piece) for piece in pieces])
    assert found == [("/big", whole)]
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("size", [10, 2 * 1024 * 1024])
async def test_a_piece_that_is_lost_or_damaged_is_told_with_its_datum(
    store: Store, tmp_path: Path, size: int
) -> None:
    good = await stored(store, "/log", b"x" * size)
    lost = File(path="/log", size=size, sha256="0" * 64, object=keys.of("0" * 64))
    wrong = File(path="/log", size=size, sha256="0" * 64, object=good.object)
    for bad, kind in ((lost, errors.NotFoundError), (wrong, errors.CorruptObjectError)):
        items = [(good, 3), (bad, 8), (good, 9)]
        with pytest.raises(PieceError) as raised:
            async for _ in concatenating.concatenated(store, tmp_path, _stream(items)):
                pass
        assert raised.value.index == 8
        assert isinstance(raised.value.why, kind)
