"""What people type about secrets, and what they see of them."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from trunkline.cli.__main__ import main
from trunkline.local.home import Home
from trunkline.storage.secrets import Secrets


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("TRUNKLINE_URL", "TRUNKLINE_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRUNKLINE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*words: str, code: int = 0, stdin: bytes = b"") -> str:
    done = CliRunner().invoke(main, words, input=stdin)
    assert done.exit_code == code, done.output
    return done.output


def test_a_secret_is_made_of_files_and_literals_and_only_its_keys_are_shown(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "tls.key").write_bytes(b"geheim1")
    sources = ["-f", str(tmp_path / "tls.key"), "-f", "word=-", "--from-literal", "user=a=b"]
    said = run("create", "secret", "db", *sources, stdin=b"geheim2")
    said += run("list", "secrets") + run("get", "secret", "-o", "json")
    assert "tls.key user word" in said
    assert "geheim" not in said
    kept = Secrets(Home(home).secrets)
    values = {key: kept.value("db", key) for key in kept.all()["db"]}
    assert values == {"tls.key": b"geheim1", "user": b"a=b", "word": b"geheim2"}
    run("delete", "secret", "db")
    assert "db" not in run("list", "secrets")
    run("delete", "secret", "db", code=5)


def test_what_is_wrong_is_told_without_the_value(home: Path) -> None:
    assert "geheim" not in run("create", "secret", "db", "--from-literal", "geheim", code=1)
    twice = ["--from-literal", "a=geheim", "--from-literal", "a=2"]
    assert "twice" in run("create", "secret", "db", *twice, code=1)
    run("create", "secret", "db", code=1)
    assert not home.exists()


def test_secrets_of_an_installation_elsewhere_are_not_made_here(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_URL", "nats://user@host")
    monkeypatch.setenv("TRUNKLINE_STORE", "s3://bucket")
    assert "kubectl" in run("create", "secret", "db", "--from-literal", "a=1", code=1)
    run("--help")
    run("create", "secret", "db", "--from-literal", "a=1", "--home", str(home))
