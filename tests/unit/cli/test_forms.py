"""Forms of answers and help: every verb has the same, and an example of its use."""

import io
import json
import re
from collections.abc import Iterator

import click
import msgspec
import pytest
import yaml
from rich.console import Console
from tests.unit.cli import test_explanations as build

from trunkline.audit.core.findings import Report
from trunkline.cli import board_view, explaining, options, render, saying
from trunkline.cli.__main__ import main
from trunkline.cli.core import explanations
from trunkline.cli.core.board import Board, FailureRow
from trunkline.contracts import api, messages, records
from trunkline.contracts.states import Cause, DatumState, JobState
from trunkline.runtime import terminals

PRINT_NOTHING = {"up", "down", "cat", "chaos", "version", "completion"}
"""Verbs that print no record."""


def meant(command: click.Command | None) -> click.Command:
    assert command is not None
    return command


def verbs(group: click.Group = main, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from verbs(command, *path, name)
        else:
            yield (*path, name), command


ALL = list(verbs())
named = pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])


@named
def test_every_verb_that_prints_takes_all_forms(
    path: tuple[str, ...], command: click.Command
) -> None:
    forms = [each for each in command.params if "-o" in each.opts]
    if path[0] in PRINT_NOTHING:
        assert forms == []
        return
    [form] = forms
    assert isinstance(form.type, click.Choice)
    assert tuple(form.type.choices) == options.FORMS


def examples(command: click.Command) -> list[str]:
    head, title, *lines = (command.epilog or "").splitlines()
    assert (head, title.rstrip(":s")) == ("\b", "Example")
    assert lines
    return lines


def test_every_group_has_an_example_that_is_one_of_its_verbs() -> None:
    groups = {name: each for name, each in main.commands.items() if isinstance(each, click.Group)}
    assert groups
    for name, group in groups.items():
        for line in examples(group):
            trunkline, first, *typed = line.split()
            assert (trunkline, first) == ("trunkline", name)
            assert group.resolve_command(click.Context(group), typed)[1] is not None


@named
def test_every_verb_has_help_with_an_example_that_is_one_of_its_own(
    path: tuple[str, ...], command: click.Command
) -> None:
    assert command.help, path
    for line in examples(command):
        words = re.split(r"\| |<\(", line)[-1].replace(")", "").partition(" > ")[0].split()
        assert words[0] == "trunkline"
        typed = [each.strip('"') for each in words[1:]]
        context, found = click.Context(main), meant(main)
        while isinstance(found, click.Group):
            _, inner, typed = found.resolve_command(context, typed)
            found = meant(inner)
        assert found is command
        assert "--help" not in typed


RECORDS = [
    (build.job(JobState.SUCCESS), f"words@{build.ID}"),
    (api.PipelineView(pipeline=build.pipeline()), "words"),
    (build.pipeline(), "words"),
    (records.Repo(name="texts", created_ns=1), "texts"),
    (api.RepoView(repo=records.Repo(name="texts", created_ns=1)), "texts"),
    (records.Branch(repo="texts", name="master"), "texts@master"),
    (
        records.Commit(
            id="c1", repo="texts", branch="master", manifest="m", files=1, size=1, created_ns=1
        ),
        "texts@c1",
    ),
    (api.DatumView(index=7, state="WAITING"), "7"),
    (build.scaling(workers=(build.at_work("w0", "j"), build.at_work("w1", "j"))), "w0\nw1"),
    (build.at_work("w0", "j"), "w0"),
    (messages.File(path="/a", size=1, sha256=""), "/a"),
    (records.Nodes(count=3), "3"),
    (build.scaled(2, 1), "words/scaled"),
    (api.Status(version="1.0", durability="", store="", server=""), "1.0"),
    (api.Collection(began_ns=5), "gc/5"),
    (
        Report(
            pipeline="words",
            job="j",
            state="SUCCESS",
            datums=0,
            outcomes=0,
            lost=0,
            twice=0,
            retried=0,
            files=0,
            bytes=0,
            findings=(),
        ),
        "words@j",
    ),
]


@pytest.mark.parametrize(
    ("record", "name"), RECORDS, ids=[type(each).__name__ for each, _ in RECORDS]
)
def test_a_record_has_every_form(
    capsys: pytest.CaptureFixture[str], record: object, name: str
) -> None:
    def printed(form: str) -> str:
        assert render.one(options.Asked(home=None, output=form), record)
        return capsys.readouterr().out

    assert printed("name") == f"{name}\n"
    assert json.loads(printed("json")) == yaml.safe_load(printed("yaml"))
    for form in ("table", "wide"):
        assert not render.one(options.Asked(home=None, output=form), record)


def test_wide_tables_have_more_columns(capsys: pytest.CaptureFixture[str]) -> None:
    for form, text in (("table", "A\n1\n"), ("wide", "A  B\n1  2\n")):
        render.table(options.Asked(home=None, output=form), ("a", "b"), [(1, 2)], wide=1)
        assert capsys.readouterr().out == text


def test_programs_are_told_a_file_by_the_names_of_its_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = options.Asked(home=None, output="json")
    render.records(asked, [messages.File(path="/a", size=1, sha256="5a")])
    [told] = json.loads(capsys.readouterr().out)
    assert told == {"path": "/a", "size": 1, "sha256": "5a", "object": "", "offset": 0}


def test_programs_are_told_names_of_fields_at_any_depth(capsys: pytest.CaptureFixture[str]) -> None:
    view = build.ended_badly(0, DatumState.PROCESSED, build.tried(Cause.OOM))
    assert view.outcome is not None
    file = messages.File(path="/a", size=1, sha256="5a")
    outcome = msgspec.structs.replace(view.outcome, files=(file,))
    skipped = (records.Skipped(count=2, run="r"), records.Skipped(count=0, run=""))
    asked = options.Asked(home=None, output="json")
    for found in (msgspec.structs.replace(view, outcome=outcome), build.job(skipped=skipped)):
        render.one(asked, found)
    printed = capsys.readouterr().out
    shown, told = json.JSONDecoder().raw_decode(printed)
    assert shown["outcome"]["files"] == [msgspec.structs.asdict(file)]
    assert shown["outcome"]["history"][0]["cause"] == "oom"
    assert shown["outcome"]["type"] == "outcome.v1"
    job = json.loads(printed[told:])
    assert job["skipped"] == [msgspec.structs.asdict(each) for each in skipped]
    assert job["spec"]["transform"]["cmd"] == ["true"]


def test_programs_are_told_problems_of_a_spec_by_names(capsys: pytest.CaptureFixture[str]) -> None:
    """Records hold two texts each."""
    stored = b'{"problems":[["$.glob","is none"]],"at_ns":1}'
    refused = build.pipeline(refusal=msgspec.json.decode(stored, type=records.Refusal))
    render.one(options.Asked(home=None, output="json"), api.PipelineView(pipeline=refused))
    told = json.loads(capsys.readouterr().out)["pipeline"]["refusal"]["problems"]
    assert told == [{"path": "$.glob", "text": "is none"}]


def test_programs_are_told_the_attempt_of_a_line_also_if_it_is_the_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = messages.LogLine(worker="w", datum="d", index=0, stream="stdout", text="x", at_ns=1)
    entry = api.LogEntry(sequence=1, job="0" * 32, line=line)
    render.streamed(options.Asked(home=None, output="json"), entry)
    told = json.loads(capsys.readouterr().out)["line"]
    assert (told["attempt"], told["generation"]) == (1, 1)


def test_what_stands_for_nothing_has_no_line_of_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board(name="all pipelines", at_ns=1, jobs=(), workers=(), scalers=(), failures=())
    render.one(options.Asked(home=None, output="name"), board)
    assert capsys.readouterr().out == ""


def test_a_name_in_a_table_or_an_explanation_does_not_command_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile, harmless = "/a\u202egnp.\x1b[2Jb", "/a\\u202egnp.\\x1b[2Jb"
    render.table(options.Asked(home=None, output="table"), ("path",), [(hostile,)])
    assert capsys.readouterr().out == f"PATH\n{harmless}\n"
    why = explanations.Reason(kind="oom", why=hostile)
    found = explanations.Explanation(what="job", name="j", standing=hostile, reasons=(why,))
    explaining.show(found, 0)
    assert capsys.readouterr().out == f"{harmless}\nwhy: {harmless}\n"


def test_a_form_for_programs_says_what_is_there_and_commands_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile = "/a\u202egnp.\x9b1A\x7f\u2028\u00e9"
    for form, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        render.one(
            options.Asked(home=None, output=form), messages.File(path=hostile, size=1, sha256="")
        )
        printed = capsys.readouterr().out
        assert terminals.harmless(printed) == printed
        assert read(printed)["path"] == hostile
    render.records(
        options.Asked(home=None, output="name"),
        [messages.File(path=hostile, size=1, sha256="")],
    )
    assert capsys.readouterr().out == f"{hostile}\n"  # a pipe hands on names as they are


def test_yaml_has_a_line_for_each_text_so_that_none_of_it_looks_like_a_field(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It quotes what commands print, and folds no long line, which would end where its writer wants."""
    forged = "no luck\nstate: SUCCESS\n\n" + "x" * 90 + " state: SUCCESS"
    shown = build.job(JobState.FAILURE, reason=forged)
    render.record(options.Asked(home=None, output="table"), shown)
    printed = capsys.readouterr().out
    states = [line for line in printed.splitlines() if line.strip().startswith("state: ")]
    assert states == ["state: FAILURE"]
    assert yaml.safe_load(printed)["reason"] == forged


def test_further_lines_of_what_went_wrong_are_told_from_other_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    saying.tell("trunkline: no\ntrunkline: deleted\n")
    assert capsys.readouterr().err == "trunkline: no\n  trunkline: deleted\n"


def test_a_board_takes_no_name_for_markup_or_a_command() -> None:
    hostile = "[red]\x1b[2J\u202eno"
    board = Board(
        name=hostile,
        at_ns=1,
        jobs=(),
        workers=(),
        scalers=(),
        failures=(FailureRow(ago_s=1.0, text=hostile),),
    )
    said = io.StringIO()
    out = Console(file=said, width=200, no_color=True)
    board_view.print_once(board, console=out)
    printed = said.getvalue()
    assert printed.count("[red]\\x1b[2J\\u202eno") == 2
    assert terminals.harmless(printed) == printed
