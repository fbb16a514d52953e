"""Joins and groups: exact lists of datums, as in Pachyderm, but for their order, which here is that of the keys."""

import contextlib
import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import listings
from tests.support.listings import leaf

from trunkline.contracts import messages, spec
from trunkline.contracts.messages import DatumTask
from trunkline.coordinator import shelf
from trunkline.coordinator.core import datums as core
from trunkline.coordinator.core import keys
from trunkline.storage import manifests
from trunkline.storage.store import open_store

STORES = [f"/STORE{number}.txt" for number in (1, 2, 3)]
SALES = ["/ORDER10_STORE1.txt", "/ORDER11_STORE1.txt", "/ORDER12_STORE2.txt", "/ORDER13_STORE9.txt"]


def join(*arms: spec.Input) -> spec.Input:
    return spec.Input(join=arms)


def group(*arms: spec.Input) -> spec.Input:
    return spec.Input(group=arms)


def stores(**more):
    return leaf("stores", "/(STORE*).txt", join_on="$1", **more)


def sales(**more):
    return leaf("sales", "/*_(STORE*).txt", join_on="$1", **more)


async def listed(value: spec.Input, **repos) -> list[str]:
    return listings.paths(await listings.datums(value, repos))


async def test_an_inner_join_pairs_the_files_that_have_the_same_key():
    assert await listed(join(stores(), sales()), stores=STORES, sales=SALES) == [
        "/STORE1.txt, /ORDER10_STORE1.txt",
        "/STORE1.txt, /ORDER11_STORE1.txt",
        "/STORE2.txt, /ORDER12_STORE2.txt",
    ]


@pytest.mark.parametrize(
    ("left", "right", "alone"),
    [
        (True, False, ["/STORE3.txt"]),
        (False, True, ["/ORDER13_STORE9.txt"]),
        (True, True, ["/STORE3.txt", "/ORDER13_STORE9.txt"]),
    ],
)
async def test_an_outer_join_has_the_marked_files_without_a_partner_too(left, right, alone):
    value = join(stores(outer_join=left), sales(outer_join=right))
    assert await listed(value, stores=STORES, sales=SALES) == [
        "/STORE1.txt, /ORDER10_STORE1.txt",
        "/STORE1.txt, /ORDER11_STORE1.txt",
        "/STORE2.txt, /ORDER12_STORE2.txt",
        *alone,
    ]


async def test_where_one_of_three_lacks_a_key_the_marked_ones_of_the_others_make_datums():
    value = join(
        leaf("a", "/(*)", join_on="$1", outer_join=True),
        leaf("b", "/(*)", join_on="$1"),
        leaf("c", "/(?)*", join_on="$1", outer_join=True),
    )
    assert await listed(value, a=["/1", "/2", "/3"], b=["/1", "/2"], c=["/11", "/31", "/32"]) == [
        "/1, /1, /11",
        "/2",
        "/3, /31",
        "/3, /32",
    ]


async def test_keys_are_made_of_any_groups_in_any_order():
    files = [f"/foo{number}" for number in range(1, 50)]
    value = join(
        leaf("in", "/foo(?)(?)", join_on="$1$2"),
        leaf("in", "/foo(?)(?)", join_on="$2$1", name="turned"),
    )
    pairs = itertools.product("1234", repeat=2)
    found = await listings.datums(value, {"in": files})
    assert listings.paths(found) == [f"/foo{a}{b}, /foo{b}{a}" for a, b in pairs]
    assert [part.source.name for part in found[0].parts] == ["in", "turned"]


async def test_a_group_is_one_datum_per_key_with_all_files_that_have_it():
    files = [f"/{letter}{number}" for letter in "ab" for number in range(3)]
    by_letter = leaf("in", "/(?)(?)", group_by="$1")
    by_number = leaf("in", "/(?)(?)", group_by="$2", name="again")
    first, second = await listings.datums(group(by_letter), {"in": files})
    assert [file.path for file in first.parts[0].files or ()] == ["/a0", "/a1", "/a2"]
    assert first.paths == "/a2 and 2 more"
    assert [file.path for file in second.parts[0].files or ()] == ["/b0", "/b1", "/b2"]
    found = await listed(group(by_letter, by_number), **{"in": files})
    assert found == [
        "/b0 and 1 more",
        "/b1 and 1 more",
        "/b2 and 1 more",
        "/a2 and 2 more",
        "/b2 and 2 more",
    ]
    both = leaf("letters", "/(?)*", group_by="$1")
    found = await listed(group(by_letter, both), **{"in": files, "letters": ["/b", "/c"]})
    assert found == ["/a2 and 2 more", "/b2 and 2 more, /b", "/c"]


async def test_a_group_of_a_join_has_the_files_that_were_joined_each_once():
    value = group(join(stores(group_by="$1"), sales(group_by="$1")))
    found = await listings.datums(value, {"stores": STORES, "sales": SALES})
    assert listings.paths(found) == [
        "/STORE1.txt, /ORDER11_STORE1.txt and 1 more",
        "/STORE2.txt, /ORDER12_STORE2.txt",
    ]


async def test_groups_and_joins_stand_in_unions_and_crosses():
    grouped = group(leaf("in", "/(?)(?)", group_by="$1"))
    union = spec.Input(union=(leaf("in"), grouped))
    repos = {"in": ["/a1", "/a2", "/b1"]}
    assert await listed(union, **repos) == ["/a1", "/a2", "/b1", "/a2 and 1 more", "/b1"]
    cross = spec.Input(cross=(leaf("other"), grouped))
    assert await listed(cross, other=["/x", "/y"], **repos) == [
        "/x, /a2 and 1 more",
        "/x, /b1",
        "/y, /a2 and 1 more",
        "/y, /b1",
    ]
    joined = spec.Input(cross=(leaf("other"), join(stores(), sales()), grouped))
    found = await listed(joined, other=["/x"], stores=STORES, sales=SALES, **repos)
    assert found[:2] == [
        "/x, /STORE1.txt, /ORDER10_STORE1.txt, /a2 and 1 more",
        "/x, /STORE1.txt, /ORDER10_STORE1.txt, /b1",
    ]
    assert len(found) == 6


@pytest.mark.parametrize("kind", ["cross", "union", "join", "group"])
async def test_a_join_goes_by_the_files_of_the_datums_that_its_arms_have(kind):
    inner = msgspec.convert(
        {
            kind: [
                leaf("b", "/(?)(?)", join_on="$1", group_by="$2"),
                leaf("c", "/(?)(?)", join_on="$1", group_by="$2"),
            ]
        },
        spec.Input,
    )
    value = join(leaf("a", "/(?)", join_on="$1"), inner)
    repos = {"a": ["/1", "/2"], "b": ["/1x", "/3x"], "c": ["/1x", "/2y"]}
    expected = ["/1, /1x", "/1, /1x", "/2, /2y"]
    assert await listed(value, **repos) == (expected[:2] if kind == "join" else expected)
    repos["c"] = []
    assert await listed(value, **repos) == (expected[:1] if kind in ("union", "group") else [])


async def test_a_matched_directory_is_joined_with_all_its_files():
    value = join(leaf("a", "/(*)", join_on="$1"), leaf("b", "/(*)", join_on="$1", empty_files=True))
    (found,) = await listings.datums(value, {"a": ["/d/1", "/d/2"], "b": ["/d/3"]})
    assert [[file.path for file in part.files or ()] for part in found.parts] == [
        ["/d/1", "/d/2"],
        ["/d/3"],
    ]


# --- what becomes of the files of a group ------------------------------------------------------


def message(value: spec.Input, datum: core.Datum) -> DatumTask:
    data = core.message(listings.a_job(value), datum, 1, 1)
    return msgspec.json.decode(data, type=DatumTask)


async def files_of(store, told: messages.DatumInput) -> list[str]:
    """Return the paths that a worker fetches."""
    if told.files is not None:
        return [file.path for file in told.files]
    assert told.span is not None
    found = []
    for span in (told.span, *told.more):
        found += [
            file.path async for file in manifests.read(store, told.manifest, span.first, span.count)
        ]
    return found


@pytest.mark.parametrize(
    ("pattern", "count", "spans"), [("$1", 100, 1), ("$2", 100, 10), ("$2", 400, 1)]
)
async def test_a_message_names_the_ranges_of_a_large_group_or_a_manifest_of_its_own(
    pattern, count, spans
):
    paths = [f"/{tens:02}{group}{n}" for tens in range(count // 10) for group in "xy" for n in "12"]
    value = group(leaf("in", "/(??)(?)?", group_by=pattern.replace("$1", "all")))
    store = open_store("memory:///")
    found = await listings.datums(value, {"in": paths}, store=store)
    told = message(value, found[0]).inputs[0]
    assert told.files is None
    assert 1 + len(told.more) == spans
    wanted = [path for path in paths if pattern == "$1" or "x" in path]
    assert await files_of(store, told) == wanted
    assert found[0].parts[0].count == len(wanted)
    assert len(core.message(listings.a_job(value), found[0], 1, 1)) < messages.MESSAGE_MAX_BYTES


async def test_a_listing_that_sends_nothing_stores_nothing_and_tells_the_same_datums(tmp_path):
    paths = {
        "in": [f"/{number:03}" for number in range(0, 200, 2)] + [f"/{n}x" for n in range(100, 200)]
    }
    value = group(leaf("in", "/(??)(?)", group_by="all"))
    found = {}
    for stores in (False, True):
        store = open_store(f"file://{tmp_path}/{stores}")
        await listings.stored(store, paths)
        before = len(list(tmp_path.glob(f"{stores}/objects/*/*")))
        datums = await listings.datums(value, paths, store=store, stores=stores)
        made = len(list(tmp_path.glob(f"{stores}/objects/*/*"))) - before
        assert (made > 0) == stores
        found[stores] = [(each.id, each.fingerprint, each.size, each.paths) for each in datums]
    assert found[False] == found[True]


async def test_a_match_inside_of_another_one_adds_no_file_but_is_told_apart():
    value = group(leaf("in", "/(?)**", group_by="$1"))
    (found,) = await listings.datums(value, {"in": ["/a/1", "/a/2", "/ab"]})
    assert [file.path for file in found.parts[0].files or ()] == ["/a/1", "/a/2", "/ab"]
    (without,) = await listings.datums(
        group(leaf("in", "/(?)*", group_by="$1")), {"in": ["/a/1", "/a/2", "/ab"]}
    )
    assert found.parts[0].files == without.parts[0].files
    assert found.id != without.id


async def test_a_message_tells_the_keys_and_whether_files_are_empty():
    value = spec.Input(
        cross=(
            group(join(leaf("a", "/(?)(?)", join_on="$1", group_by="$2$1"), leaf("b", "/(?)(?)", join_on="$1", group_by="$2$1"))),
            leaf("c", empty_files=True),
        )
    )  # fmt: skip
    (found,) = await listings.datums(value, {"a": ["/1x"], "b": ["/1x"], "c": ["/c"]})
    told = message(value, found).inputs
    assert [(each.join_on, each.group_by, each.empty) for each in told] == [
        ("1", "x1", False),
        ("1", "x1", False),
        ("", "", True),
    ]
    assert told[2].files is not None
    assert told[2].files[0].size > 0


async def test_contents_of_a_reference_do_not_count_for_skipping():
    for reference in (False, True):
        alone = leaf("in", reference=reference)
        together = group(leaf("in", "/(?)*", group_by="$1", reference=reference))
        for value in (alone, together):
            (one, *_), (other, *_) = [
                await listings.datums(value, {"in": ["/a1", "/a2"]}, contents=contents)
                for contents in ("x", "y")
            ]
            assert one.id == other.id
            assert (one.fingerprint == other.fingerprint) == reference


async def test_a_group_of_one_match_is_the_datum_that_the_match_would_be():
    alone = await listings.datums(leaf("in", "/(*)"), {"in": ["/a"]})
    grouped = await listings.datums(group(leaf("in", "/(*)", group_by="$1")), {"in": ["/a"]})
    assert [each.id for each in alone] == [each.id for each in grouped]


# --- against the plainest reading --------------------------------------------------------------


def naive_join(arms, outer):
    """Return the datums by trying all keys: paths of all arms whose first letter is the key."""
    for key in sorted({path[1] for arm in arms for path in arm}):
        found = [[path for path in arm if path[1] == key] for arm in arms]
        if not all(found):
            found = [some for some, marked in zip(found, outer, strict=False) if some and marked]
        if found:
            yield from map(list, itertools.product(*found))


def naive_group(arms):
    for key in sorted({path[2] for arm in arms for path in arm}):
        by_arm = [[path for path in arm if path[2] == key] for arm in arms]
        yield [some for some in by_arm if some]


paths = st.sets(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from("123")).map(
        lambda each: "/" + "".join(each)
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(paths, min_size=1, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.sampled_from([1, 300, 1 << 20]),
    st.integers(0, 12),
)
async def test_lists_are_those_of_the_plainest_reading_whatever_is_in_memory(
    arms, outer, kept, first
):
    ordered = [sorted(arm) for arm in arms]
    repos = {str(number): arm for number, arm in enumerate(ordered)}
    glob = "/(?)(?)*"
    joined = join(*(leaf(repo, glob, join_on="$1", outer_join=outer[int(repo)]) for repo in repos))
    found = await listings.datums(joined, repos, kept=kept)
    assert [[part.path for part in each.parts] for each in found] == list(
        naive_join(ordered, outer)
    )
    assert await listings.datums(joined, repos, lambda index: index >= first) == found[first:]
    grouped = group(*(leaf(repo, glob, group_by="$2") for repo in repos))
    found = await listings.datums(grouped, repos, kept=kept)
    assert [
        [[file.path for file in part.files or ()] for part in each.parts] for each in found
    ] == list(naive_group(ordered))
    assert len({each.id for each in found}) == len(found)


@given(
    st.lists(st.tuples(st.text(max_size=3), st.integers(0, 3), st.integers(0, 3), st.sampled_from("ab"))),
)  # fmt: skip
def test_places_keep_apart_what_belongs_to_different_keys(items):
    def by(item):
        key, arm, source, letter = item
        return keys.sorted_by(key, arm, source, f"/{letter}")

    ordered = sorted(items, key=by)
    met = [key for key, _ in itertools.groupby(ordered, lambda item: keys.place(by(item)).key)]
    assert len(met) == len({key for key, *_ in items})
    for item in items:
        place = keys.place(by(item))
        assert (place.arm, place.source) == item[1:3]


def test_a_shelf_can_be_read_again_and_cleared(tmp_path):
    with contextlib.ExitStack() as files:
        made = shelf.Shelf(tmp_path, files, most_bytes=500)
        for size in (3, 100):
            items = [f"{number}".encode() * 10 for number in range(size)]
            for item in items:
                made.put(item)
            assert made.count == size
            assert list(made) == list(made) == items
            both = zip(made, made, strict=True)
            assert all(one == other for one, other in both)
            made.clear()
            assert list(made) == []
