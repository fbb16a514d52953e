import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.contracts import errors, globs, names
from trunkline.contracts.messages import File
from trunkline.storage import keys, manifests
from trunkline.storage.store import open_store

HASH = "ab" * 32
OBJECT = keys.of("cd" * 32)


def entry(path, *, size=1, sha256=HASH, offset=0):
    return File(path=path, size=size, sha256=sha256, object=OBJECT if size else "", offset=offset)


def many(count, *, step=1):
    return [
        entry(f"/dir{n // 1000:04}/file{n:07}", size=n, offset=n) for n in range(0, count, step)
    ]


async def files_of(store, manifest, first=0, count=None):
    return [file async for file in manifests.read(store, manifest, first, count)]


async def test_a_manifest_gives_back_every_field(store):
    files = [
        entry("/a", size=0),
        entry("/a-b", size=5),
        entry("/é/ü", size=1 << 40, offset=1 << 35),
    ]
    files.sort(key=lambda file: names.path_key(file.path))
    result = await manifests.write(store, files)
    assert (result.files, result.size) == (3, 5 + (1 << 40))
    assert await files_of(store, result.manifest) == files
    opened = await manifests.open_manifest(store, result.manifest)
    assert (opened.count, opened.size) == (3, result.size)
    assert await opened.get("/a-b") == entry("/a-b", size=5)
    assert await opened.get("/a-c") is None


async def test_no_files_are_the_empty_manifest(store):
    result = await manifests.write(store, [])
    assert result == manifests.Written(manifest=manifests.EMPTY, files=0, size=0)
    assert await files_of(store, manifests.EMPTY) == []
    opened = await manifests.open_manifest(store, manifests.EMPTY)
    assert opened.count == opened.size == 0
    assert await opened.get("/a") is None
    assert await opened.position("/a") == 0


async def test_an_async_stream_is_written_as_it_comes(store):
    async def stream():
        for file in many(3_000):
            yield file

    result = await manifests.write(store, stream())
    assert await files_of(store, result.manifest) == many(3_000)
    assert result == await manifests.write(store, many(3_000))


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (["/a", "/a"], "twice"),
        (["/a", "/a/b"], "'/a' is a file"),
        (["/a", "/a/b/c"], "'/a' is a file"),
    ],
)
async def test_paths_that_cannot_be_together_are_refused(store, paths, reason):
    with pytest.raises(errors.InvalidPathError, match=reason):
        await manifests.write(store, map(entry, paths))


async def test_unsorted_files_are_a_fault_of_the_caller(store):
    with pytest.raises(ValueError, match="does not come after"):
        await manifests.write(store, map(entry, ["/b", "/a"]))


async def test_a_span_in_the_middle_reads_a_block_or_two(counting):
    files = many(100_000)
    result = await manifests.write(counting, files)
    counting.reset()
    assert await files_of(counting, result.manifest, 50_000, 10) == files[50_000:50_010]
    assert len(counting.reads) <= 3  # the root, and a block or two


async def test_all_below_a_directory_is_found(store):
    files = sorted(
        map(entry, ["/a", "/b/x", "/b/y/z", "/b-c", "/c"]), key=lambda f: names.path_key(f.path)
    )
    opened = await manifests.open_manifest(store, (await manifests.write(store, files)).manifest)

    async def below(path):
        return [file.path async for file in opened.below(path)]

    assert await below("/b") == ["/b/x", "/b/y/z"]
    assert await below("/a") == ["/a"]
    assert await below("/b/y/z") == ["/b/y/z"]
    assert await below("/nothing") == []
    assert len(await below("/")) == 5


async def test_spans_of_a_walk_are_the_files_of_its_matches(store):
    files = many(5_000)
    opened = await manifests.open_manifest(store, (await manifests.write(store, files)).manifest)
    matches = list(globs.find(globs.compile("/*"), [file.path for file in files]))
    assert len(matches) == 5
    for match in matches:
        below = [file async for file in opened.files(match.first, match.count)]
        assert below == [file async for file in opened.below(match.path)]


# --- overlays ----------------------------------------------------------------------------------


async def test_one_file_over_a_large_manifest_writes_and_reads_only_a_few_objects(counting):
    files = many(100_000)
    base = await manifests.write(counting, files)
    for path in ("/aaa", "/dir0050/file0050000x", "/zzz"):
        counting.reset()
        new = entry(path, size=7)
        result = await manifests.overlay(counting, base.manifest, [new])
        assert len(counting.writes) <= 4
        assert len(counting.reads) <= 4
        assert (result.files, result.size) == (base.files + 1, base.size + 7)
        merged = sorted([*files, new], key=lambda file: names.path_key(file.path))
        assert result == await manifests.write(counting, merged)


async def test_a_file_in_the_old_place_replaces_the_old_one(store):
    base = await manifests.write(store, many(2_000))
    new = entry("/dir0001/file0001500", size=9)
    result = await manifests.overlay(store, base.manifest, [new])
    opened = await manifests.open_manifest(store, result.manifest)
    assert opened.count == 2_000
    assert await opened.get(new.path) == new


async def test_deleting_a_directory_takes_all_below_it(store):
    base = await manifests.write(store, many(5_000))
    result = await manifests.overlay(
        store, base.manifest, [], ["/dir0001", "/dir0001/file0001000", "/dir0003/file0003500", "/x"]
    )
    left = [f for f in many(5_000) if not f.path.startswith("/dir0001")]
    left.remove(entry("/dir0003/file0003500", size=3500, offset=3500))
    assert await files_of(store, result.manifest) == left
    assert result == await manifests.write(store, left)


async def test_deleting_everything_leaves_the_empty_manifest(store):
    base = await manifests.write(store, many(100))
    assert (await manifests.overlay(store, base.manifest, [], ["/"])).manifest == manifests.EMPTY
    replaced = await manifests.overlay(store, base.manifest, [entry("/a")], ["/"])
    assert await files_of(store, replaced.manifest) == [entry("/a")]


async def test_a_file_cannot_come_below_a_file_or_in_place_of_a_directory(store):
    base = await manifests.write(store, many(5_000))
    for path in ("/dir0003/file0003000/below", "/dir0003", "/dir0004/file0004999/x"):
        with pytest.raises(errors.InvalidPathError, match="nothing can lie below"):
            await manifests.overlay(store, base.manifest, [entry(path)])
    result = await manifests.overlay(store, base.manifest, [entry("/dir0003")], ["/dir0003"])
    assert result.files == 4_001


small_paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
wide_paths = st.integers(0, 400).map(lambda n: f"/f{n:03}/x")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(small_paths | wide_paths, max_size=120),
    st.dictionaries(small_paths | wide_paths, st.integers(0, 3), max_size=10),
    st.sets(small_paths | wide_paths | st.just("/"), max_size=4),
)
async def test_an_overlay_is_what_writing_the_merged_files_would_be(monkeypatch, old, new, deleted):
    monkeypatch.setattr("trunkline.storage.runs._LEAST_BYTES", 150)
    monkeypatch.setattr("trunkline.storage.runs._USUAL_BYTES", 300)
    monkeypatch.setattr("trunkline.storage.runs._MOST_BYTES", 900)
    store = open_store("memory://")

    def conflict(paths):
        return any(one != two and two.startswith(one + "/") for one in paths for two in paths)

    def ordered(files):
        return sorted(files, key=lambda file: names.path_key(file.path))

    if conflict(old):
        old = {path for path in old if not any(each.startswith(path + "/") for each in old)}
    base = await manifests.write(store, ordered(map(entry, old)))
    added = ordered(entry(path, size=size) for path, size in new.items())
    kept = {
        path
        for path in old
        if not any(path == each or path.startswith(each.rstrip("/") + "/") for each in deleted)
    }
    if conflict(kept | set(new)):
        with pytest.raises(errors.InvalidPathError):
            await manifests.overlay(store, base.manifest, added, deleted)
        return
    merged = {path: entry(path) for path in kept} | {file.path: file for file in added}
    expected = await manifests.write(store, ordered(merged.values()))
    assert await manifests.overlay(store, base.manifest, added, deleted) == expected


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_memory_is_bounded_for_a_million_files(tmp_path):
    store = open_store(f"file://{tmp_path}/s")
    tracemalloc.start()

    def stream(count):
        for n in range(count):
            yield entry(f"/dir{n // 1000:04}/file{n:07}", size=n, offset=n)

    result = await manifests.write(store, stream(1_000_000))
    count = 0
    opened = await manifests.open_manifest(store, result.manifest)
    async for batch in opened.batches():
        count += len(batch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 1_000_000
    assert peak < 30_000_000
