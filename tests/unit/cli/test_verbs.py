"""What people type, and what they are told when it cannot be done."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from trunkline.chaos.core import schedule
from trunkline.cli import elsewhere, options, refs, render, session, specs
from trunkline.cli.__main__ import main
from trunkline.client import client as clients
from trunkline.contracts import errors
from trunkline.local.home import Context, Home

TABLE = options.Asked(home=None, output="table")


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


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("list branches texts", "inspect repo"),
        ("create pipeline -f words.json", "apply -f"),
        ("update pipeline -f words.json", "apply -f"),
        ("describe pipeline words", "inspect"),
        ("glob file texts@master:/*", "ls"),
        ("start job words", "rerun job"),
        ("restart pipelines words", "rerun pipeline"),
        ("kill job words", "stop job"),
        ("finish commit texts@master", "put"),
        ("pipeline", "list pipelines"),
        ("jobs", "list jobs"),
        ("get pods", "list workers"),
        ("list jobz", "jobs"),
    ],
)
def test_another_products_verb_is_answered_with_the_one_that_is_meant(
    runner: CliRunner, typed: str, told: str
) -> None:
    done = runner.invoke(main, typed.split())
    assert done.exit_code == 2
    assert told in done.stderr.partition("No such command")[2]


def test_what_is_said_of_others_verbs_names_verbs_that_are_there(runner: CliRunner) -> None:
    said = [*elsewhere.VERBS.values(), *elsewhere.NOUNS.values()]
    named = {each for text in said for each in re.findall(r"`trunkline ([a-z]+(?: [a-z]+)?)", text)}
    assert named
    for each in named:
        assert runner.invoke(main, [*each.split(), "--help"]).exit_code == 0, each


def test_others_verbs_are_none_of_ours() -> None:
    assert not elsewhere.VERBS.keys() & main.commands.keys()
    for verb, noun in elsewhere.NOUNS:
        group = main.commands[verb]
        assert isinstance(group, click.Group)
        assert group.get_command(click.Context(group), noun) is None


@pytest.mark.parametrize(
    ("typed", "answered"),
    [
        ("put file texts@master -f .", "no installation"),
        ("list file texts@master", "no installation"),
        ("ls files texts@master", "no installation"),
        ("wait job words", "no installation"),
        ("wait job --timeout 5", "no installation"),
        ("logs --pipeline words", "no installation"),
        ("logs --job words@3f2a", "no installation"),
        ("list jobs --pipeline words", "no installation"),
        ("get files texts@master:/a", "no installation"),
        ("delete branches texts@dev", "no installation"),
        ("create repos texts", "no installation"),
        ("logs", "name a pipeline"),
        ("logs words --job words@3f2a", "name one"),
    ],
)
def test_nouns_and_options_that_say_nothing_new_are_taken(
    runner: CliRunner, typed: str, answered: str
) -> None:
    assert answered in runner.invoke(main, typed.split()).stderr


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


@pytest.mark.parametrize(
    "text",
    [
        "---\na: 1\n--- # second\nb: 2\n",
        '[{"a": 1}, {"b": 2}]',
        '{"a": 1}\n{"b": 2}',
        "- a: 1\n- b: 2",
    ],
)
def test_the_specs_in_one_file_are_applied_one_by_one(tmp_path: Path, text: str) -> None:
    file = tmp_path / "two"
    file.write_text(text)
    assert specs.documents(str(file)) == [b'{"a":1}', b'{"b":2}']


def test_a_key_that_is_given_twice_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("a: 1\na: 2\n")
    with pytest.raises(errors.InvalidSpecError) as caught:
        specs.documents(str(file))
    assert caught.value.problems == [("$.a", "is given more than once")]


VALID = "pipeline: {name: %s}\ntransform: {cmd: [x]}\ninput: {pfs: {repo: in, glob: /}}\n"


def test_validate_needs_no_installation_and_says_which_spec_it_means(
    runner: CliRunner, tmp_path: Path
) -> None:
    file = tmp_path / "specs.yaml"
    file.write_text(
        f"{VALID % 'good'}cacheSize: 64M\n---\n{VALID % 'bad'}datumTries: 0\nimput: 1\n"
    )
    done = runner.invoke(main, ["validate", "-f", str(file)])
    assert done.exit_code == 1
    assert done.stdout == f"{file}: spec 1: pipeline good is valid\n"
    assert f"warning: {file}: spec 1: cacheSize has no effect\n" in done.stderr
    assert f"{file}: spec 2: $.datumTries: expected a whole number" in done.stderr
    assert f"{file}: spec 2: $.imput: unknown field; did you mean 'input'?" in done.stderr


def test_validate_reads_stdin_and_ends_with_0_if_all_is_well(runner: CliRunner) -> None:
    done = runner.invoke(main, ["validate", "-f", "-"], input=VALID % "good")
    assert (done.exit_code, done.stdout) == (0, "-: spec 1: pipeline good is valid\n")
    assert done.stderr == ""


def test_validate_goes_on_after_a_file_that_cannot_be_read(
    runner: CliRunner, tmp_path: Path
) -> None:
    broken, good = tmp_path / "broken", tmp_path / "good"
    broken.write_text("{")
    good.write_text(VALID % "good")
    names = [str(tmp_path / "missing"), str(broken), str(good)]
    done = runner.invoke(main, ["validate", "-o", "json", *(w for n in names for w in ("-f", n))])
    assert done.exit_code == 1
    verdicts = json.loads(done.stdout)
    assert [(each["file"], each["number"]) for each in verdicts] == list(
        zip(names, (0, 0, 1), strict=True)
    )
    assert verdicts[0]["problems"] == [{"path": "", "text": "No such file or directory"}]
    assert "no JSON" in verdicts[1]["problems"][0]["text"]
    assert verdicts[2]["problems"] == []


def test_validate_tells_what_the_coordinator_would_not_run(runner: CliRunner) -> None:
    triggered = (VALID % "late").replace("glob: /", "glob: /, trigger: {size: 1M}")
    done = runner.invoke(main, ["validate", "-f", "-"], input=triggered)
    assert done.exit_code == 1
    assert "spec 1: $.input.pfs.trigger: is not supported yet" in done.stderr


def test_piped_tables_are_plain_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(TABLE, ("name", "state"), [("a", "RUNNING"), ("longer", "")])
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


def test_every_kind_of_fault_can_be_listed_and_only_those_from_outside_done(
    runner: CliRunner,
) -> None:
    for what in schedule.HABITS:
        listed = runner.invoke(main, ["chaos", "--dry-run", "--what", what, "--for", "60s"])
        assert listed.exit_code == 0, what
        assert listed.stdout.splitlines(), what
        refused = runner.invoke(main, ["chaos", "--what", what])
        assert refused.exit_code == (3 if what in schedule.OUTSIDE else 2), what
        assert ("up --chaos" in refused.stderr) == (what not in schedule.OUTSIDE)


@pytest.mark.parametrize("text", ["-5m", "nan", "inf", "yesterday"])
def test_what_tells_no_time_is_answered_with_both_forms_of_one(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"no duration such as .*, and no time such as"):
        options.SINCE.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        ("1e300", 1),
        ("1e12", 1),
        ("0001-01-01T00:00:00Z", 1),
        ("9999-12-31T00:00:00Z", options.LATEST_NS),
        ("2026-01-31T12:00:00Z", 1_769_860_800 * 10**9),
    ],
)
def test_a_time_that_is_too_long_ago_or_too_far_ahead_is_the_first_or_the_last_one(
    text: str, at_ns: int
) -> None:
    assert options.SINCE.convert(text, None, None) == at_ns


def test_what_a_terminal_has_no_sign_for_comes_as_an_escape_and_a_closed_one_is_no_fault(
    tmp_path: Path,
) -> None:
    (tmp_path / "\u2603.json").write_text("{}")
    command = f"{sys.executable} -m trunkline.cli validate -f \u2603.json"
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    for ending in ("", " >&-"):
        done = subprocess.run(
            ["/bin/sh", "-c", command + ending],
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
        )
        assert (done.returncode, done.stdout) == (1, b"")
        assert rb"\u2603.json: " in done.stderr


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_document_is_utf8_whatever_the_locale(tmp_path: Path, form: str) -> None:
    """The escapes of Python are others than those of JSON beyond U+FFFF, and none of YAML's without quotes."""
    name = "\U0001f600\u00e9.json"
    (tmp_path / name).write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "trunkline.cli", "validate", "-f", name, "-o", form],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
    )
    assert yaml.safe_load(done.stdout.decode())[0]["file"] == name


def _paths(command: click.Command, *before: str) -> Iterator[tuple[str, ...]]:
    yield before
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _paths(inner, *before, name)


def test_what_is_no_utf8_is_refused_as_an_argument_of_every_verb(runner: CliRunner) -> None:
    bad = os.fsdecode(b"w\xffrds")
    for path in _paths(main):
        for words in ([bad], ["--home", bad], [f"--output={bad}"], [f"--{bad}"]):
            done = runner.invoke(main, [*path, *words])
            assert (done.exit_code, done.stdout) == (2, ""), done.output
            place = len([*path, *words])
            typed = words[-1].replace(bad, r"w\udcffrds")
            assert f"argument {place}, '{typed}', is no UTF-8" in done.stderr


def test_a_state_directory_whose_name_is_no_utf8_is_refused_before_anything_is_made(
    runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    monkeypatch.setenv("TRUNKLINE_HOME", str(odd))
    done = runner.invoke(main, ["up"])
    assert done.exit_code == 1
    assert r"\udcff' is no UTF-8: choose another directory" in done.stderr
    assert not odd.exists()


def test_a_file_that_cannot_be_read_is_told_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file, why in (
        (tmp_path / "missing", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(OSError, match=why) as failed:
            specs.documents(str(file))
        with pytest.raises(SystemExit) as ended:
            session.leave(failed.value)
        assert (ended.value.code, capsys.readouterr().err) == (1, f"trunkline: {file}: {why}\n")
