"""What people type, and what they are told when it cannot be done."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from trunkline.cli import pipelines, refs, render
from trunkline.cli.__main__ import main
from trunkline.client import client as clients
from trunkline.contracts import errors
from trunkline.local.home import Context, Home


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    for name in ("TRUNKLINE_URL", "TRUNKLINE_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRUNKLINE_HOME", str(tmp_path / "nothing"))
    return CliRunner()


def test_singular_and_plural_name_the_same_command(runner: CliRunner) -> None:
    for words in (["get", "pipeline"], ["list", "pipelines"], ["inspect", "job"], ["stop", "job"]):
        assert runner.invoke(main, [*words, "--help"]).exit_code == 0
    assert runner.invoke(main, ["get", "potatoes"]).exit_code == 2


def test_without_an_installation_one_line_says_how_to_start_one(runner: CliRunner) -> None:
    done = runner.invoke(main, ["list", "pipelines"])
    assert done.exit_code == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "trunkline up" in done.stderr


async def test_a_server_that_is_away_is_told_without_its_password() -> None:
    with pytest.raises(errors.UnavailableError) as raised:
        async with clients.connect("nats://user:geheim@127.0.0.1:9", "memory://", connect_s=0.3):
            pass
    assert "127.0.0.1:9" in str(raised.value)
    assert "geheim" not in str(raised.value)


def test_a_bad_name_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(errors.InvalidNameError):
        refs.place("no.dots@master")
    with pytest.raises(errors.InvalidNameError):
        refs.split_job("*@1")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("texts", ("texts", "master", "")),
        ("texts@dev", ("texts", "dev", "")),
        ("texts@dev:/a/b", ("texts", "dev", "a/b")),
        ("texts:a:b", ("texts", "master", "a:b")),
    ],
)
def test_a_place_is_repo_branch_and_path(text: str, place: tuple[str, str, str]) -> None:
    assert refs.place(text) == place


def test_yaml_documents_in_one_file_are_applied_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text("---\na: 1\n--- # second\nb: 2\n")
    assert [spec.strip() for spec in pipelines.specs(str(file))] == [b"a: 1", b"b: 2"]
    file.write_text('{"text": "\\n---\\n"}')
    assert list(pipelines.specs(str(file))) == [file.read_bytes()]


def test_piped_tables_are_plain_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(("name", "state"), [("a", "RUNNING"), ("longer", "")])
    assert capsys.readouterr().out == "NAME    STATE\na       RUNNING\nlonger  -\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.26, "0.3s"), (42, "42s"), (300, "5m"), (7200, "2h"), (200_000, "2d"), (-1, "0.0s")],
)
def test_durations_have_one_number_and_a_unit(seconds: float, text: str) -> None:
    assert render.duration(seconds) == text


def test_the_context_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    home.write_context(Context(url="nats://u:p@127.0.0.1:1", store="memory://"))
    assert home.context.stat().st_mode & 0o777 == 0o600
    assert home.root.stat().st_mode & 0o777 == 0o700
    assert json.loads(home.context.read_text())["store"] == "memory://"
    assert home.read_context().url == "nats://u:p@127.0.0.1:1"
