"""Which datums travel together."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.contracts import messages
from trunkline.contracts.messages import DatumTask, File
from trunkline.contracts.spec import DatumSets
from trunkline.coordinator.core import sets
from trunkline.coordinator.core.datums import Datum, Part, Source

SOURCE = Source(name="in", glob="/*", commit="c", manifest="m")


def datum(index: int, *sizes: int, few: bool = True) -> Datum:
    files = tuple(
        File(path=f"/{index}-{number}", size=size, sha256="0" * 64)
        for number, size in enumerate(sizes)
    )
    part = Part(SOURCE, f"/{index}", 0, len(sizes), files if few else None, "", sum(sizes))
    return Datum(index, f"{index:064x}", bytes(16), (part,))


def grouped(datums: list[Datum], workers: int = 1, **wanted: int) -> list[list[int]]:
    groups = sets.grouped(datums, DatumSets(**wanted), workers)
    return [[each.index for each in group] for group in groups]


def test_a_datum_travels_alone_unless_the_spec_says_otherwise() -> None:
    assert grouped([datum(0), datum(1)]) == [[0], [1]]


def test_a_number_is_the_most_that_a_set_holds() -> None:
    assert grouped([datum(n) for n in range(5)], number=2) == [[0, 1], [2, 3], [4]]


def test_a_size_in_bytes_bounds_a_set_and_one_larger_datum_travels_alone() -> None:
    sizes = (4, 4, 4, 30, 1, 9, 1)
    datums = [datum(n, size) for n, size in enumerate(sizes)]
    assert grouped(datums, size_bytes=10) == [[0, 1], [2], [3], [4, 5], [6]]


def test_number_and_size_bound_a_set_together() -> None:
    datums = [datum(n, 4) for n in range(6)]
    assert grouped(datums, number=3, size_bytes=100) == [[0, 1, 2], [3, 4, 5]]
    assert grouped(datums, number=3, size_bytes=8) == [[0, 1], [2, 3], [4, 5]]


def test_sets_per_worker_follow_the_workers() -> None:
    datums = [datum(n) for n in range(12)]
    assert [len(each) for each in grouped(datums, workers=2, per_worker=3)] == [2] * 6
    assert [len(each) for each in grouped(datums, workers=100, per_worker=3)] == [1] * 12


def test_a_datum_of_very_many_files_shares_no_set_that_is_bounded_in_bytes() -> None:
    datums = [datum(0, 1), datum(1, 1, few=False), datum(2, 1)]
    assert grouped(datums, size_bytes=100) == [[0], [1], [2]]


@given(
    st.lists(st.integers(0, 50), max_size=40),
    st.integers(0, 7),
    st.integers(0, 60),
)
def test_every_datum_is_in_one_set_in_order(sizes: list[int], number: int, limit: int) -> None:
    datums = [datum(n, size) for n, size in enumerate(sizes)]
    groups = grouped(datums, number=number, size_bytes=limit)
    assert [index for group in groups for index in group] == list(range(len(sizes)))
    assert all(groups)


def tasks(count: int, padding: int = 0) -> list[DatumTask]:
    return [
        DatumTask(pipeline="p", job="j", index=n, datum="d" * padding, fingerprint="f", inputs=())
        for n in range(count)
    ]


def test_a_set_is_one_message_of_the_datums_that_it_holds() -> None:
    alone, several = tasks(1), tasks(3)
    assert [*sets.packed(map(messages.encode, alone))] == [(1, messages.encode(alone[0]))]
    ((count, data),) = sets.packed(map(messages.encode, several))
    assert count == 3
    assert data == messages.encode(messages.DatumSet(datums=tuple(several)))
    assert messages.decode_datums("", data) == tuple(several)


def test_a_set_that_does_not_fit_is_several_messages() -> None:
    several = tasks(50, padding=2000)
    packed = [*sets.packed(map(messages.encode, several))]
    assert len(packed) > 1
    assert all(len(data) <= messages.MESSAGE_MAX_BYTES for _, data in packed)
    found = [task for _, data in packed for task in messages.decode_datums("", data)]
    assert found == several
    assert sum(count for count, _ in packed) == 50
