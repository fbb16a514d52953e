"""A manifest from outside: taken if it could be ours, refused with the file that is wrong."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trunkline.contracts import errors, names
from trunkline.contracts.messages import File
from trunkline.storage import checking, keys, manifests
from trunkline.storage.runs import RunWriter
from trunkline.storage.store import Store, open_store

HASH = "ab" * 32
VALUE = manifests.encode(File(path="/x", size=1, sha256=HASH, object=keys.of(HASH)))


async def written(items: dict[bytes, bytes]) -> tuple[Store, str]:
    store = open_store("memory:///")
    writer = RunWriter(store)
    for key, value in sorted(items.items()):
        await writer.add(key, value)
    return store, await writer.finish()


async def test_files_and_bytes_are_counted_over_all_blocks() -> None:
    store = open_store("memory:///")
    files = [
        File(path=f"/d{number % 7}/{number:05}", size=number, sha256=HASH, object=keys.of(HASH))
        for number in range(5000)
    ]
    files.sort(key=lambda file: names.path_key(file.path))
    ours = await manifests.write(store, files)
    assert await checking.check(store, ours.manifest) == ours
    empty = manifests.Written(manifest="", files=0, size=0)
    assert await checking.check(store, manifests.EMPTY) == empty


def is_path(key: bytes) -> bool:
    try:
        path = names.path_of_key(key)
        return names.path(path) == path and names.path_key(path) == key
    except (errors.InvalidPathError, UnicodeDecodeError):
        return False


def is_manifest(found: set[bytes]) -> bool:
    below = any(key.startswith(other + b"\0") for key in found for other in found)
    return all(map(is_path, found)) and not below


parts = st.text(st.sampled_from("a.b\0\n/\x7fé"), max_size=3)
likely = st.lists(
    st.sampled_from(["a", "ab", "..", ".", "..a", "é", "x" * 255, "x" * 256]), min_size=1
)


@given(
    st.sets(
        st.one_of(
            parts.map(str.encode),
            likely.map(lambda some: names.path_key("/" + "/".join(some))),
            st.binary(max_size=4),
        ),
        min_size=1,
        max_size=5,
    )
)
@example({b"\0a/b"})
@example({b"\0a\nb"})
@example({b"\0a", b"\0a\0b"})
@example({b"\0a", b"\0ab"})
@example({b"\0" + b"x" * 200, *(b"\0".join([b""] + [b"x" * 200] * 6),)})
async def test_it_is_refused_just_if_a_path_in_it_cannot_be(found: set[bytes]) -> None:
    store, manifest = await written(dict.fromkeys(found, VALUE))
    try:
        assert (await checking.check(store, manifest)).files == len(found)
        taken = True
    except (errors.InvalidPathError, errors.MalformedMessageError):
        taken = False
    assert taken == is_manifest(found)


@pytest.mark.parametrize(
    "entry",
    [
        manifests.Entry(-1, b"", b"", 0),
        manifests.Entry(1, b"", b"x", -1),
        manifests.Entry(1, b"", b"", 0),
    ],
)
async def test_it_is_refused_with_the_file_whose_bytes_cannot_be(entry: manifests.Entry) -> None:
    value = manifests._encode(entry)
    store, manifest = await written({b"\0a": VALUE, b"\0b": value, b"\0c": VALUE})
    with pytest.raises(errors.InvalidPathError, match="/b"):
        await checking.check(store, manifest)


async def test_what_is_no_entry_is_no_manifest() -> None:
    store, manifest = await written({b"\0a": VALUE, b"\0b": b"nothing"})
    with pytest.raises(errors.MalformedMessageError):
        await checking.check(store, manifest)


async def test_files_that_together_are_larger_than_any_store_are_no_manifest() -> None:
    """What adds them up may have 64 bits: one listing of such a commit would fail wherever it is done."""
    value = manifests._encode(manifests.Entry(2**53, b"", b"x", 0))
    store, manifest = await written({b"\0a": value})
    assert (await checking.check(store, manifest)).size == 2**53
    store, manifest = await written({b"\0a": value, b"\0b": value})
    with pytest.raises(errors.MalformedMessageError, match="larger than any store"):
        await checking.check(store, manifest)
