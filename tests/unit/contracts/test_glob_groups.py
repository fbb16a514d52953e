"""Groups in parentheses: what they match, what they hold, and keys that are made of them."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support import reference_globs
from tests.support.reference_globs import file_paths, patterns

from trunkline.contracts import errors, glob_chars, globs

MATCHING = [
    ("/(a|b)", "/b"),
    ("/@(a|b)", "/a"),
    ("/@()x", "/x"),
    ("/?(x)a", "/a"),
    ("/?(x)a", "/xa"),
    ("/*(ab)", "/abab"),
    ("/x*(ab)", "/x"),
    ("/+(a|bc)", "/abca"),
    ("/+(a|)x", "/x"),
    ("/*.+(js|css)", "/bar.min.js"),
    ("/a*(b|/c)d", "/ab/cd"),
    ("/(**).txt", "/a/b.txt"),
    ("/+(*/)x", "/a/b/x"),
    ("/**(a)", "/bbaa"),
    ("/**(a)", "/bb"),
    ("/***(a)", "/b/baa"),
    ("/??(a)", "/xa"),
    ("/*(*(of*(o)x)o)", "/ofoooxoofxoofoooxoofxo"),
    ("/@(bcc|b|bc)*(b|cb+(c))", "/bccbccbc"),
    ("/{a,(b|{c,d})}e", "/de"),
    ("/(a,b|c)", "/a,b"),
    ("/{a|b}", "/a|b"),
    ("/a)b", "/a)b"),
    ("/a|b", "/a|b"),
    ("/a@b+c!d", "/a@b+c!d"),
    ("/\\@(a)", "/@a"),
    ("/@\\(a\\)", "/@(a)"),
    ("/[(]a[)]", "/(a)"),
    ("/!(a)", "/b"),
    ("/!(a)", "/aa"),
    ("/x!(a)", "/x"),
    ("/!(*.js|*.json)", "/a.js.gz"),
    ("/!(!(foo))", "/foo"),
    ("/!(a|b)/*", "/ab/c"),
    ("/!(foo)bar", "/foobarbar"),
    ("/*!(.js)", "/foo.js"),
    ("/+(!(f))", "/fff"),
    ("/!(a/b)", "/a"),
    ("/!([!a])", "/a"),
    ("/!(é*)", "/eé"),
]

DIFFERING = [
    ("/(a|b)", "/c"),
    ("/(a|b)", "/ab"),
    ("/?(x)a", "/xxa"),
    ("/*(ab)", "/aba"),
    ("/+(ab)x", "/x"),
    ("/*(*(of*(o)x)o)", "/ofoooxoofxoofoooxoofxofo"),
    ("/@(ab|c)d", "/abcd"),
    ("/!(a)", "/a"),
    ("/!(*.js|*.json)", "/a.json"),
    ("/!(!(!(foo)))", "/foo"),
    ("/!(a|b)/*", "/a/c"),
    ("/!(x)", "/a/b"),
    ("/!(**)", "/a"),
    ("/!(*)", "/a"),
    ("/!(foo)bar", "/foobar"),
    ("/*.!(js)", "/bar.js"),
    ("/!([!a])", "/b"),
    ("/+(!(f))", "/f"),
]

HOLDING = [
    ("/test/(a|b)/x.go", "/test/b/x.go", ["b"]),
    ("/test/a*(a|b)/x.go", "/test/a/x.go", [""]),
    ("/test/a*(a|b)/x.go", "/test/aba/x.go", ["ba"]),
    ("/test/+(a|b)/(*).go", "/test/ab/x.go", ["ab", "x"]),
    ("/test/a?(a|b)/@(*).go", "/test/aa/x.go", ["a", "x"]),
    ("/test*(/?(+(a|b)/*.go))", "/test/a/x.go", ["/a/x.go", "a/x.go", "a"]),
    ("/(*)-(*)", "/a-b-c", ["a-b", "c"]),
    ("/(?)(?)", "/ab", ["a", "b"]),
    ("/(a|ab)(c|bcd)(*)", "/abcd", ["a", "bcd", ""]),
    ("/(*)/(**)", "/a/b/c", ["a", "b/c"]),
    ("/*((a)|b)", "/ab", ["ab", "a"]),
    ("/!(a)b*", "/aab", ["aa"]),
    ("/!(*_b)_(?)", "/a_b_c", [None]),
    ("/!(a|b)(*)", "/ac", ["ac", ""]),
    ("/(*).{txt,(md)}", "/a.txt", ["a", ""]),
]


@pytest.mark.parametrize(("pattern", "path"), MATCHING)
def test_pattern_matches_path(pattern, path):
    assert globs.compile(pattern).matches(path)


@pytest.mark.parametrize(("pattern", "path"), DIFFERING)
def test_pattern_does_not_match_path(pattern, path):
    assert not globs.compile(pattern).matches(path)


@pytest.mark.parametrize(("pattern", "path", "held"), HOLDING)
def test_a_group_holds_what_a_backtracking_matcher_would_find(pattern, path, held):
    glob = globs.compile(pattern)
    if held == [None]:
        assert not glob.matches(path)
    else:
        assert glob.matches(path)
        assert glob.groups(path) == tuple(held)


@settings(max_examples=600, deadline=None)
@given(patterns, st.lists(file_paths, min_size=1, max_size=5))
@example("/*(?(a)b|)", ["/abb"])
@example("/+(*(a)|b)", ["/aab"])
@example("/*(*(a)*(b))", ["/abab"])
def test_groups_agree_with_trying_everything(pattern, paths):
    glob = globs.compile(pattern)
    for path in paths:
        held = reference_globs.groups(pattern, path)
        assert glob.matches(path) == (held is not None)
        if held is not None:
            assert glob.groups(path) == held


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("/(a", "`(` is never closed"),
        ("/!(a|{b)", "`{` is never closed"),
        ("/(a{b|c)d}", "`(` is never closed"),
        ("/" + "(" * 33 + ")" * 33, "over 32 groups"),
        ("/" + "{" * 10 + "(" * 23 + ")" * 23 + "}" * 10, "nested deeper"),
        ("/!(" + "*a" * 1 + "?" * 14 + "b)", "too complicated"),
        ("/!(*{a,b}[xyz]" + "?" * 20 + ")", "too complicated"),
    ],
)
def test_groups_that_cannot_be_used_are_refused_with_the_reason(pattern, reason):
    with pytest.raises(errors.InvalidGlobError) as refused:
        globs.compile(pattern)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("$1", "2024"),
        ("$1-$2", "2024-05"),
        ("$2$1", "052024"),
        ("x${2}0", "x050"),
        ("$0", "/2024/05.csv"),
        ("$$1", "$1"),
        ("$", "$"),
        ("cost $ $x", "cost $ $x"),
        ("", ""),
        ("constant", "constant"),
    ],
)
def test_a_key_is_filled_in_with_the_groups_of_a_path(text, key):
    glob = globs.compile("/(*)/(??).csv")
    assert glob.key(text)("/2024/05.csv") == key


@pytest.mark.parametrize("text", ["$3", "$12", "${3}", "$01", "$" + "9" * 999, "x" * 1025])
def test_a_key_of_groups_that_are_not_there_is_refused(text):
    with pytest.raises(errors.InvalidKeyError, match=r"cannot be made"):
        globs.compile("/(*)/(??).csv").key(text)


def test_the_prefix_ends_where_a_group_begins():
    assert globs.compile("/a/(b)c").literal_prefix == "/a/"


chars = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 40)).map(lambda pair: (pair[0], sum(pair))),
    max_size=5,
).map(glob_chars.of)


@given(chars, chars, st.integers(0, 400).map(chr))
def test_sets_of_characters_are_put_together_and_turned_round(one, other, char):
    both = glob_chars.union([one, other])
    assert both.accepts(char) == (one.accepts(char) or other.accepts(char))
    assert one.others().accepts(char) != one.accepts(char)
    assert one.others().others() == one
    assert one.inside_part().accepts(char) == (one.accepts(char) and char != "/")
    for first, last in glob_chars.atoms([one, other]):
        assert len({one.accepts(chr(code)) for code in range(first, min(last, 500) + 1)}) <= 1
