"""From files to datums."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from trunkline.contracts import globs, messages, names, records, spec
from trunkline.contracts.messages import DatumTask, File, Span
from trunkline.contracts.states import JobState
from trunkline.coordinator.core import datums
from trunkline.coordinator.core.datums import Datum, Leaf, Listing, Source

COMMIT = "c" * 32
JOB = "a" * 32


def file(path: str, contents: str = "x") -> File:
    sha256 = hashlib.sha256(contents.encode()).hexdigest()
    return File(path=path, size=len(contents), sha256=sha256, object=f"objects/{sha256}")


def every(_: int) -> bool:
    return True


def listed(glob: str, files: list[File], wanted=every, **changed: str) -> list[Datum]:
    source = Source(name="in", glob=glob, commit=COMMIT, manifest="m")
    leaf = Leaf(source)
    parts = leaf.feed(files[:3]) + leaf.feed(files[3:]) + leaf.finish()
    listing = Listing(changed.get("salt", "s"), changed.get("code", "c"), wanted)
    return listing.datums([(each,) for each in parts])


def span(datum: Datum) -> Span:
    (part,) = datum.parts
    return Span(first=part.first, count=part.count)


def job() -> records.Job:
    return records.Job(
        pipeline="edges",
        id=JOB,
        version=1,
        code_hash="c",
        spec=spec.PipelineSpec(
            name="edges",
            transform=spec.Transform(cmd=("true",)),
            input=spec.Input(pfs=spec.PfsInput(repo="in", glob="/*", name="in")),
        ),
        salt="s",
        order=1,
        inputs=(),
        state=JobState.LISTING,
        created_ns=0,
    )


FILES = [file("/a"), file("/b/x"), file("/b/y"), file("/c")]


def test_each_match_is_a_datum_in_the_order_of_paths() -> None:
    found = listed("/*", FILES)
    assert [(each.index, each.paths) for each in found] == [(0, "/a"), (1, "/b"), (2, "/c")]
    assert found[1].parts[0].files == (FILES[1], FILES[2])
    assert span(found[1]) == Span(first=1, count=2)
    assert found[0].id == names.datum_id([("in", "/a")])


def test_the_root_is_one_datum_of_all_files() -> None:
    (whole,) = listed("/", FILES)
    assert whole.paths == "/"
    assert span(whole) == Span(first=0, count=4)


def test_no_files_are_no_datums() -> None:
    assert listed("/", []) == []
    assert listed("/*", []) == []


def test_many_files_are_named_by_their_range_only() -> None:
    many = [file(f"/d/{number:03}") for number in range(messages.INLINE_FILES + 1)]
    (datum,) = listed("/*", many)
    assert datum.parts[0].files is None
    (few,) = listed("/*", many[1:])
    assert few.parts[0].files == tuple(many[1:])


def test_a_fingerprint_changes_with_contents_paths_code_and_salt_only() -> None:
    (before,) = listed("/*", [file("/a")])
    assert listed("/*", [file("/A"), file("/a")])[1].fingerprint == before.fingerprint
    for other in (
        listed("/*", [file("/a", "other")]),
        listed("/*", [file("/b")]),
        listed("/*", [file("/a")], salt="other"),
        listed("/*", [file("/a")], code="other"),
    ):
        assert other[0].fingerprint != before.fingerprint


def test_a_message_names_its_files_while_it_stays_small() -> None:
    (small,) = listed("/*", [file("/a")])
    task = messages.decode("", datums.message(job(), small, 1, 2), DatumTask)
    assert (task.index, task.round, task.fingerprint) == (0, 2, small.fingerprint.hex())
    assert task.inputs[0].files == (file("/a"),)
    assert task.inputs[0].span is None
    quotes = '"' * 1015  # which JSON doubles
    long_names = [file(f"/d/{quotes}{number:02}") for number in range(messages.INLINE_FILES)]
    (large,) = listed("/*", long_names)
    data = datums.message(job(), large, 1, 1)
    assert len(data) <= messages.MESSAGE_MAX_BYTES
    task = messages.decode("", data, DatumTask)
    assert task.inputs[0].files is None
    assert (task.inputs[0].manifest, task.inputs[0].span) == ("m", Span(first=0, count=16))


paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda x: "/" + "/".join(x))


def tree(found: set[str]) -> list[File]:
    """Return files at these paths, in order, without those that are directories of others."""
    inner = {path for path in found if any(each.startswith(path + "/") for each in found)}
    return [file(path, path) for path in sorted(found - inner, key=names.path_key)]


@given(st.sets(paths, max_size=30), st.sampled_from(["/*", "/**", "/*/*", "/a/**", "/", "/{a,b}*"]))
def test_datums_are_the_matches_of_the_glob_each_with_its_files(found: set[str], glob: str) -> None:
    files = tree(found)
    chosen = listed(glob, files)
    matches = list(globs.find(globs.compile(glob), [each.path for each in files]))
    assert [each.paths for each in chosen] == [match.path for match in matches]
    assert [each.index for each in chosen] == list(range(len(matches)))
    assert len({each.fingerprint for each in chosen}) == len(matches)
    for datum, match in zip(chosen, matches, strict=True):
        assert span(datum) == Span(first=match.first, count=match.count)
        expected = tuple(files[match.first : match.first + match.count])
        assert datum.parts[0].files == (expected if match.count <= messages.INLINE_FILES else None)


@given(
    st.sets(paths, max_size=30),
    st.sampled_from(["/*", "/**", "/*/*", "/"]),
    st.sets(st.integers(0, 40)),
)
def test_a_part_of_a_listing_is_what_the_whole_says(
    found: set[str], glob: str, wanted: set[int]
) -> None:
    """A resumed listing and a repair ask for some indexes, and must find the same datums."""
    files = tree(found)
    whole = listed(glob, files)
    assert listed(glob, files, wanted.__contains__) == [
        each for each in whole if each.index in wanted
    ]
