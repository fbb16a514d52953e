import stat

import pytest

from trunkline.contracts import errors
from trunkline.storage.secrets import VALUE_MAX_BYTES, Secrets, TooLargeError


@pytest.fixture
def secrets(tmp_path):
    return Secrets(tmp_path / "secrets")


def test_a_secret_is_listed_by_its_keys_and_read_by_them(secrets):
    assert secrets.all() == {}
    secrets.create("db", {"word": b"\x00geheim\n", "user": b"me"})
    secrets.create("a.b", {})
    assert secrets.all() == {"a.b": (), "db": ("user", "word")}
    assert secrets.value("db", "word") == b"\x00geheim\n"
    with pytest.raises(FileNotFoundError):
        secrets.value("db", "other")


def test_only_its_owner_reads_it(secrets, tmp_path):
    secrets.create("db", {"word": b"geheim"})
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.rglob("*")}
    assert modes == {"secrets": 0o700, "db": 0o700, "word": 0o600}


def test_one_that_is_there_is_replaced_only_if_that_is_said_and_in_its_own_directory(secrets):
    secrets.create("db", {"old": b"1", "both": b"1"})
    with pytest.raises(errors.AlreadyExistsError):
        secrets.create("db", {"new": b"2"})
    place = secrets.place("db").stat().st_ino
    secrets.create("db", {"new": b"2", "both": b"2"}, replace=True)
    assert secrets.all() == {"db": ("both", "new")}
    assert secrets.value("db", "both") == b"2"
    assert secrets.place("db").stat().st_ino == place


def test_one_that_is_removed_is_gone(secrets):
    secrets.create("db", {"word": b"1"})
    secrets.remove("db")
    assert secrets.all() == {}
    with pytest.raises(errors.NotFoundError):
        secrets.remove("db")


@pytest.mark.parametrize("name", ["..", "a/b", "A", ""])
def test_a_name_that_leaves_the_directory_is_none(secrets, tmp_path, name):
    with pytest.raises(errors.InvalidNameError):
        secrets.create(name, {"word": b"1"})
    with pytest.raises(errors.InvalidNameError):
        secrets.remove(name)
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("key", [".", "..", "a/b", "", "..data"])
def test_so_is_a_key(secrets, tmp_path, key):
    with pytest.raises(errors.InvalidNameError):
        secrets.create("db", {key: b"1"})
    assert not list(tmp_path.rglob("*"))


def test_a_secret_has_a_limit(secrets):
    with pytest.raises(TooLargeError):
        secrets.create("db", {"word": bytes(VALUE_MAX_BYTES + 1)})
