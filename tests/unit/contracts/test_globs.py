import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import reference_globs
from tests.support.reference_globs import file_paths, patterns

from trunkline.contracts import errors, globs, names

MATCHING = [
    ("/", "/"),
    ("urls/*", "/urls/a"),
    ("/urls/*", "/urls/a"),
    ("/urls/", "/urls"),
    ("//urls//./x/", "/urls/x"),
    ("/*", "/a"),
    ("/**", "/a/b/c"),
    ("/a/**", "/a/b/c"),
    ("/a**c", "/a/b/c"),
    ("/**/c", "/a/b/c"),
    ("/***", "/a/b"),
    ("/?at", "/cat"),
    ("/*ä", "/åä"),
    ("/?*?", "/ac"),
    ("/[a-z]", "/c"),
    ("/[!a]*", "/this is a test3"),
    ("/[^a]", "/b"),
    ("/[[:alpha:]]", "/C"),
    ("/[[:^alpha:]]", "/."),
    ("/[^[:alpha:]]", "/."),
    ("/[[:alpha:][:digit:]_-]", "/-"),
    ("/[]a]", "/]"),
    ("/[a-]", "/-"),
    ("/[\\]]", "/]"),
    ("/[a\\-z]", "/-"),
    ("/{abc,def}ghi", "/defghi"),
    ("/{abc,abcd}a", "/abcda"),
    ("/{a,ab}{bc,f}", "/abc"),
    ("/{*,**}{a,b}", "/ab"),
    ("/{rate,[0-9][0-9][0-9]}*", "/123x"),
    ("/{,*.}example.com", "/example.com"),
    ("/{,*.}example.com", "/www.example.com"),
    ("/{a,{b,c{d,e}}}f", "/cef"),
    ("/{a/b,c}/d", "/a/b/d"),
    ("/{}a", "/a"),
    ("/a,b", "/a,b"),
    ("/a}", "/a}"),
    ("/a]", "/a]"),
    ("/\\*", "/*"),
    ("/\\{a\\}", "/{a}"),
    ("/a\\/b", "/a/b"),
    ("a\\/", "/a"),
    ("/\\(x\\)", "/(x)"),
    ("/\\a", "/a"),
    ("/[a-z][!a-x]*cat*[h][!b]*eyes*", "/my cat has very bright eyes"),
]

DIFFERING = [
    ("/", "/a"),
    ("/*", "/"),
    ("/**", "/"),
    ("/{,a}", "/"),
    ("/*", "/a/b"),
    ("/a/*", "/a"),
    ("/a/**", "/a"),
    ("/?", "/"),
    ("/a?b", "/a/b"),
    ("/a[!x]b", "/a/b"),
    ("/a[ -~]b", "/a/b"),
    ("/?at", "/at"),
    ("/[a-z]", "/C"),
    ("/[[:alpha:]]", "/5"),
    ("/[^a]", "/a"),
    ("/{*,**}{a,b}", "/ac"),
    ("/{,*.}example.com", "/example.com.net"),
    ("/sta", "/stagnation"),
    ("/sta?n", "/stagnation"),
    ("/\\*", "/a"),
    ("/a", "/A"),
    ("/a", ""),
]


@pytest.mark.parametrize(("pattern", "path"), MATCHING)
def test_pattern_matches_path(pattern, path):
    assert globs.compile(pattern).matches(path)


@pytest.mark.parametrize(("pattern", "path"), DIFFERING)
def test_pattern_does_not_match_path(pattern, path):
    assert not globs.compile(pattern).matches(path)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "empty"),
        ("/[a", "`[` is never closed"),
        ("/[", "`[` is never closed"),
        ("/[]", "`[` is never closed"),
        ("/[a\\", "`[` is never closed"),
        ("/{a,b", "`{` is never closed"),
        ("/{a,{b}", "`{` is never closed"),
        ("/a\\", "backslash"),
        ("/[z-a]", "wrong way round"),
        ("/[[:letter:]]", "no class of characters"),
        ("/[[:alpha", "`[:` is never closed"),
        ("/a[/]b", "separator"),
        ("/@(a|b", "`(` is never closed"),
        ("/(a", "`(` is never closed"),
        ("/../a", "`..`"),
        ("/a/..", "`..`"),
        ("/a\0b", "control character"),
        ("/a\nb", "control character"),
        ("/\ud800", "UTF-8"),
        ("/" + "a" * 1024, "over 1024 bytes"),
        ("{" * 40 + "}" * 40, "nested deeper"),
        ("*a" * 101, "over 100 stars"),
    ],
)
def test_a_pattern_that_cannot_be_parsed_is_refused_with_the_reason(pattern, reason):
    with pytest.raises(errors.InvalidGlobError, match=r"glob .* cannot be parsed") as refused:
        globs.compile(pattern)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("/", "/"),
        ("/a/b*", "/a/b"),
        ("a/b", "/a/b"),
        ("/\\*a?", "/*a"),
        ("/{a,b}", "/"),
        ("/x[a]", "/x"),
    ],
)
def test_the_literal_prefix_is_what_every_match_begins_with(pattern, prefix):
    assert globs.compile(pattern).literal_prefix == prefix


def test_a_directory_sorts_right_before_what_lies_below_it():
    paths = ["/a-b", "/a/x", "/a", "/a.b", "/b", "/a/x/y", "/a/x-y", "/a/é"]
    ordered = sorted(paths, key=names.path_key)
    assert ordered == ["/a", "/a/x", "/a/x/y", "/a/x-y", "/a/é", "/a-b", "/a.b", "/b"]
    assert [names.path_of_key(names.path_key(path)) for path in paths] == paths


def test_memory_stays_bounded_whatever_the_paths():
    glob = globs.compile("/**a*b?c**d")
    for number in range(30_000):
        glob.matches("/" + chr(0x4E00 + number % 20_000) + f"a{number:x}b" + "abcd" * 3)
    assert len(glob._states) <= globs._MAX_REMEMBERED
    assert sum(len(state.steps) for state in glob._states.values()) <= globs._MAX_REMEMBERED
    assert glob.matches("/xaxb-cd")


@settings(max_examples=500, deadline=None)
@given(patterns, st.lists(file_paths, min_size=1, max_size=5))
def test_matching_agrees_with_trying_everything(pattern, paths):
    glob = globs.compile(pattern)
    for path in [*paths, "/"]:
        assert glob.matches(path) == reference_globs.matches(pattern, path)
        if glob.matches(path):
            assert path.startswith(glob.literal_prefix)


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="a/*?[]{}!^-,:\\()@+|alpha", max_size=12))
def test_any_text_compiles_or_is_refused(text):
    try:
        glob = globs.compile(text)
    except errors.InvalidGlobError:
        return
    glob.matches("/a/alpha-a")


def ancestors(path):
    parts = path.split("/")[1:]
    yield "/"
    for depth in range(1, len(parts)):
        yield "/" + "/".join(parts[:depth])


def without_conflicts(paths):
    """Drop files that would have to be directories, too."""
    directories = {each for path in paths for each in ancestors(path)}
    return sorted(set(paths) - directories, key=names.path_key)


@settings(max_examples=300, deadline=None)
@given(patterns, st.lists(file_paths, max_size=20), st.integers(0, 5))
def test_walk_finds_each_matching_file_and_directory_with_its_files(pattern, paths, first):
    ordered = without_conflicts(paths)
    expected = set()
    for candidate in {*ordered, *itertools.chain.from_iterable(map(ancestors, ordered))}:
        if reference_globs.matches(pattern, candidate):
            below = candidate.rstrip("/") + "/"
            positions = [
                at for at, path in enumerate(ordered) if path == candidate or path.startswith(below)
            ]
            assert positions == list(range(positions[0], positions[0] + len(positions)))
            expected.add((candidate, positions[0] + first, len(positions)))
    found = [(m.path, m.first, m.count) for m in globs.find(globs.compile(pattern), ordered, first)]
    assert set(found) == expected
    assert len(found) == len(expected)
    assert found == sorted(found, key=lambda m: (m[1] + m[2], -m[0].count("/"), m[0] == "/"))


def test_first_match_comes_before_the_listing_ends():
    def endless():
        for number in itertools.count():
            yield f"/dir{number:09}/file"

    found = globs.find(globs.compile("/*"), endless())
    assert next(found) == globs.Match("/dir000000000", 0, 1)
    assert next(globs.find(globs.compile("/*/*"), endless())).path == "/dir000000000/file"


def test_walk_tells_which_directories_are_open():
    walk = globs.Walk(globs.compile("/{a,a/b}"))
    assert walk.feed("/a/b/c") == []
    assert [match.path for match in walk.open] == ["/a", "/a/b"]
    assert [match.path for match in walk.feed("/a/d")] == ["/a/b"]
    assert [match.path for match in walk.open] == ["/a"]
    assert walk.finish() == [globs.Match("/a", 0, 2)]


def test_the_root_of_an_empty_repo_is_no_match():
    assert list(globs.find(globs.compile("/"), [])) == []
