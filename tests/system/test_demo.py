"""The demo: right totals with a worker killed midway, and nothing run twice the second time."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.gates import Gate

from trunkline.cli import demo_texts
from trunkline.contracts import globs, spec, spec_parsing

ROOT = Path(__file__).parents[2]
KILLED = "*** SIGKILL to worker words-"


@pytest.fixture
def home() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="tl-"))
    yield root
    shutil.rmtree(root, ignore_errors=True)


def demo(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trunkline.cli.demo", "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


LAST = "os.environ['TRUNKLINE_DATUM_INDEX'] == '119'"
"""Of 120 datums."""
LATER = "[each for each in gate.parent.glob('job-*') if os.environ['TRUNKLINE_JOB_ID'] not in each.name]"
"""Any of a job that is not the first one."""


def gated_specs(folder: Path, gate: Gate, who: str = LAST) -> Path:
    """Write the specs of the example, with a command in which some datums wait at a gate."""
    example = ROOT / "examples" / "wordcount"
    words = json.loads((example / "words.json").read_text())
    words["transform"]["stdin"][:0] = [
        "import os, pathlib, time",
        f"gate, opened = pathlib.Path({str(gate.file)!r}), pathlib.Path({str(gate.file)!r} + '.open')",
        "(gate.parent / ('job-' + os.environ['TRUNKLINE_JOB_ID'])).touch()",
        f"while {who} and not opened.exists():",
        "    gate.touch()",
        "    time.sleep(0.02)",
    ]
    (folder / "words.json").write_text(json.dumps(words))
    shutil.copy(example / "totals.yaml", folder)
    return folder


def demo_with_a_kill(gate: Gate, home: Path, *arguments: str) -> tuple[int, str, str]:
    """Run it; it is not done before a worker was killed."""
    command = [sys.executable, "-m", "trunkline.cli.demo", "--home", str(home), *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT)
    try:
        assert process.stderr is not None
        told = ""
        while KILLED not in told and (line := process.stderr.readline()):
            told += line
        gate.open()
        out, rest = process.communicate()
    finally:
        process.kill()
    return process.returncode, out, told + rest


def test_the_demo_kills_a_worker_and_counts_right_and_then_skips_everything(
    home: Path, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    asked = ("--files", "120", "--specs", str(gated_specs(tmp_path, gate)))
    code, out, told = demo_with_a_kill(gate, home, *asked)
    assert code == 0, told
    assert KILLED in told
    assert "as in the plain count" in told
    assert re.search(r"^datums: 121 processed, 0 skipped, \d+ run again$", out, re.MULTILINE)
    assert len(re.findall(r"^ +[\d,]+  [a-z]+$", out, re.MULTILINE)) == 20
    second = demo(home, *asked)
    assert second.returncode == 0, second.stderr
    assert "datums: 0 processed, 121 skipped, 0 run again" in second.stdout
    assert "SIGKILL" not in second.stderr


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_demo_that_was_too_fast_for_a_kill_counts_once_more(home: Path, tmp_path: Path) -> None:
    """Two files are mostly done before anybody is seen busy; who comes in a later job waits for the kill."""
    gate = Gate(tmp_path / "gate")
    specs = str(gated_specs(tmp_path, gate, LATER))
    code, out, told = demo_with_a_kill(gate, home, "--files", "2", "--specs", specs)
    assert code == 0, told
    assert KILLED in told
    assert "as in the plain count" in told
    assert re.search(r"^datums: \d processed", out, re.MULTILINE)


def test_a_wrong_amount_of_files_is_told_in_a_line(home: Path) -> None:
    done = demo(home, "--files", "some")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("trunkline: DEMO_FILES='some'")


def test_the_glob_of_the_example_matches_just_the_files_that_are_put() -> None:
    words = spec_parsing.parse((ROOT / "examples" / "wordcount" / "words.json").read_bytes())
    glob = globs.compile(spec.inputs(words.input)[0].glob)
    paths = [text.path for text in demo_texts.choose("all")]
    assert len(paths) > 500
    assert all(glob.matches(path) for path in paths)
    folders = {path.rpartition("/")[0] for path in paths} - {""}
    assert not any(glob.matches(folder) for folder in folders)


def test_a_choice_of_files_is_the_same_each_time() -> None:
    some = demo_texts.choose("50")
    assert len({text.path for text in some}) == 50
    assert some == demo_texts.choose("50")
