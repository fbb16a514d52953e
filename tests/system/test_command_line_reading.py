"""What can be read of an installation: by each verb in every form, by a shell that completes, by top on a terminal."""

import json
import os
import sys
import time
from functools import partial
from pathlib import Path

import yaml
from click.testing import CliRunner
from tests.support import screens, shells
from tests.support.command_line import SHOUT, Command

from trunkline.cli.__main__ import main
from trunkline.runtime.terminals import harmless


@shells.here
def test_a_shell_completes_names_of_what_there_is(
    trunkline: Command, shell: str, tmp_path: Path
) -> None:
    trunkline("create", "repo", "completed")
    bin_ = str(Path(sys.executable).parent)
    environ = {**trunkline.environ, "PATH": f"{bin_}:{os.environ['PATH']}"}
    asked = ["trunkline inspect repo comp", "trunkline put completed@m"]
    wanted = ["trunkline inspect repo completed ", "trunkline put completed@master "]
    found = [""]
    for _ in range(5):  # on a machine that is busy names are not had in the time that a prompt has
        if (found := shells.typed(shell, asked, environ, tmp_path)) == wanted:
            break
    assert found == wanted


READING = [
    *("list pipelines", "list versions read", "list jobs read", "list datums read", "top read"),
    *(
        "list workers read",
        "list events read",
        "list repos",
        "list commits reading",
        "list secrets",
    ),
    *("inspect pipeline read", "inspect job read", "inspect datum read 0", "inspect repo read"),
    *("inspect commit reading@master", "inspect installation", "status", "nodes get"),
    *("ls read@master", "explain read", "explain read 0"),
]


HOSTILE = "\x1b[2J\u202eno.\x9b1A"
FAILED = ["top loud", "inspect job loud", "list datums loud", "explain loud", "explain loud 0"]


def test_every_verb_that_reads_answers_in_every_form_and_commands_no_terminal(
    trunkline: Command,
) -> None:
    """In this process, where each costs some hundredths of a second; JSON is what the others here ask for."""

    def ask(*words: str, stdin: str = "", code: int = 0) -> str:
        done = CliRunner().invoke(main, [*words, "--home", str(trunkline.home)], input=stdin)
        assert done.exit_code == code, (words, done.output)
        assert harmless(done.output) == done.output, words
        return done.stdout

    pfs = {"repo": "reading", "name": "texts", "glob": "/*"}
    ask("create", "repo", "reading")
    spec = {**SHOUT, "pipeline": {"name": "read"}, "input": {"pfs": pfs}, "description": HOSTILE}
    ask("apply", "-f", "-", stdin=json.dumps(spec))
    say = "printf '\\033[2J\\342\\200\\256no.\\302\\2331A\\n' >&2; exit 1"
    loud = {"pipeline": {"name": "loud"}, "transform": {"cmd": ["sh", "-c", say]}, "datum_tries": 1}
    ask("apply", "-f", "-", stdin=json.dumps({**loud, "input": {"pfs": pfs}}))
    ask("put", "reading:/a\u202egnp.b", "-f", "-", stdin="x")
    ask("wait", "reading@master", code=4)
    for words in (*READING, *FAILED, "inspect datum loud 0", "list events loud"):
        for form in ("table", "json", "wide"):
            assert ask(*words.split(), "-o", form), words
        assert isinstance(yaml.safe_load(ask(*words.split(), "-o", "yaml")), dict | list), words
        if "ls " in words:  # names of files are handed on as they are
            continue
        names = ask(*words.split(), "-o", "name").splitlines()
        assert all(line.strip() == line for line in names), words
    told = json.loads(ask("inspect", "datum", "loud", "0", "-o", "json"))
    assert HOSTILE in told["outcome"]["log_tail"]
    assert yaml.safe_load(ask("inspect", "datum", "loud", "0", "-o", "yaml")) == told
    assert HOSTILE in json.loads(ask("logs", "loud", "-o", "json").splitlines()[0])["line"]["text"]
    ask("inspect", "pipeline", HOSTILE, code=1)
    ask("cat", f"reading@master:/{HOSTILE}", code=1)
    ask("list", HOSTILE, code=2)
    ask("list", "jobs", HOSTILE, HOSTILE, code=2)
    ask("list", "jobs", "-o", HOSTILE, code=2)


def test_what_a_deleted_pipeline_has_taken_along_is_explained(trunkline: Command) -> None:
    """The pipeline, its job, its worker: no record of them is left, but events are."""

    def ask(*words: str, stdin: str = "", code: int = 0) -> str:
        done = CliRunner().invoke(main, [*words, "--home", str(trunkline.home)], input=stdin)
        assert done.exit_code == code, (words, done.output)
        return done.stdout

    ask("create", "repo", "briefly")
    pfs = {"repo": "briefly", "name": "texts", "glob": "/*"}
    spec = {**SHOUT, "pipeline": {"name": "brief"}, "input": {"pfs": pfs}}
    ask("apply", "-f", "-", stdin=json.dumps(spec))
    ask("put", "briefly:/a", "-f", "-", stdin="x")
    ask("wait", "briefly@master")
    [job] = ask("list", "jobs", "brief", "-o", "name").split()
    [worker] = ask("list", "workers", "brief", "-o", "name").split()
    ask("explain", "brief@ffffff", code=5)
    ask("delete", "pipeline", "brief")
    deadline = time.monotonic() + 60
    while "is gone" not in (said := ask("explain", "brief")):
        assert time.monotonic() < deadline, said
    for what, gone in (
        ("brief", "pipeline brief is gone"),
        (job, f"job {job[:18]} is gone"),
        (worker, f"worker {worker} of brief is gone"),
    ):
        found = json.loads(ask("explain", what, "-o", "json"))
        assert found["standing"] == gone
        [reason] = found["reasons"]
        assert reason["kind"] == "deleted"
        assert "trunkline apply" in reason["remedy"]
        assert found["events"]


def test_top_fits_a_real_terminal_also_when_that_has_another_size(trunkline: Command) -> None:
    """The next look is a minute away, so what is drawn anew is so because of the size."""
    top = [sys.executable, "-m", "trunkline.cli", "top", "--every", "60"]
    with screens.drawn_by(top, trunkline.environ, columns=80, rows=24) as screen:

        def is_board(rows: int, lines: list[str]) -> bool:
            return len(lines) == rows and lines[0].startswith("trunkline top")

        for columns, rows in ((80, 24), (60, 15), (120, 40), (200, 60)):
            screen.resize(columns, rows)
            lines = screen.frame(partial(is_board, rows))
            assert max(map(len, lines)) <= columns
            ruled = [line for line in lines if "────" in line]
            assert [len(each) for each in ruled] == [columns] * 4 * (rows >= 40)
