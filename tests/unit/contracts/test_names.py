import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.contracts import errors, names


@pytest.mark.parametrize("check", [names.pipeline, names.repo])
def test_a_pipeline_or_repo_has_a_name_of_at_most_51_characters(check):
    for name in ("a", "A-b_9", "9x", "x" * 51):
        assert check(name) == name
    for name in ("", "-a", "_a", "a.b", "a b", "a*", "a>", "ä", "a\n", "x" * 52, "a/b"):
        with pytest.raises(errors.InvalidNameError):
            check(name)


@pytest.mark.parametrize("check", [names.branch, names.worker, names.user])
def test_other_names_are_whole_tokens(check):
    for name in ("-a", "_", "x" * 63):
        assert check(name) == name
    for name in ("", "a.b", "*", ">", "$", "a b", "x" * 64, "é", "a\n"):
        with pytest.raises(errors.InvalidNameError):
            check(name)


def test_an_id_is_32_hex_digits():
    assert names.commit("0123456789abcdef" * 2) == "0123456789abcdef" * 2
    for identifier in ("", "A" * 32, "a" * 31, "a" * 33, "g" * 32, "a" * 32 + "\n"):
        with pytest.raises(errors.InvalidNameError):
            names.commit(identifier)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("a", "/a"),
        ("/a/b", "/a/b"),
        ("...", "/..."),
        ("/a b/ü/..c", "/a b/ü/..c"),
        ("/*?[{\\", "/*?[{\\"),
        ("/" + "p" * 255, "/" + "p" * 255),
    ],
)
def test_a_path_comes_out_in_its_one_form(value, path):
    assert names.path(value) == path


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "root"),
        ("/", "root"),
        ("//", "empty part"),
        ("//a", "empty part"),
        ("a//b", "empty part"),
        ("a/", "ends in a slash"),
        (".", "part `.`"),
        ("..", "part `.` or `..`"),
        ("/a/../b", "part `.` or `..`"),
        ("../../etc/passwd", "part `.` or `..`"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x7fb", "control character"),
        ("\ud800", "UTF-8"),
        ("/" + "ab/" * 400 + "c", "over 1024 bytes"),
        ("/" + "ä" * 128, "over 255 bytes"),
    ],
)
def test_a_path_that_leaves_the_repo_or_cannot_be_stored_is_refused(value, reason):
    with pytest.raises(errors.InvalidPathError) as refused:
        names.path(value)
    assert reason in str(refused.value)
    str(refused.value).encode()


@given(st.text(max_size=30))
def test_any_text_is_refused_or_becomes_a_path_that_stays_as_it_is(text):
    try:
        path = names.path(text)
    except errors.InvalidPathError:
        return
    assert names.path(path) == path
    assert path.startswith("/")
    assert not {"", ".", ".."} & set(path[1:].split("/"))
    assert names.path_of_key(names.path_key(path)) == path


def test_a_datum_id_depends_on_names_paths_and_their_order():
    base = names.datum_id([("in", "/a"), ("other", "/b")])
    assert len(base) == 32
    assert base == names.datum_id([("in", "/a"), ("other", "/b")])
    for other in (
        [("other", "/b"), ("in", "/a")],
        [("in", "/a")],
        [("in/", "a"), ("other", "/b")],
        [("in", "/ax"), ("", "/b")],
    ):
        assert names.datum_id(other) != base


def test_a_fingerprint_depends_on_everything_that_a_result_does():
    base = names.fingerprint("d", ["x", "y"], "salt", "code")
    assert len(base) == 16
    for other in (
        names.fingerprint("e", ["x", "y"], "salt", "code"),
        names.fingerprint("d", ["y", "x"], "salt", "code"),
        names.fingerprint("d", ["xy"], "salt", "code"),
        names.fingerprint("d", ["x", "y"], "salt2", "code"),
        names.fingerprint("d", ["x", "y"], "salt", "code2"),
        names.fingerprint("d", ["x", "y"], "saltc", "ode"),
    ):
        assert other != base
    assert names.fingerprint("d", [], "s\0x", "y") != names.fingerprint("d", [], "s", "x\0y")


def test_an_error_does_not_repeat_a_value_of_megabytes():
    for check in (names.pipeline, names.commit, names.path):
        with pytest.raises(errors.TrunklineError) as refused:
            check("x\0" * 1_000_000)
        assert len(str(refused.value)) < 1_000
    assert len(str(errors.NotFoundError("repo", "x" * 1_000_000))) < 1_000
