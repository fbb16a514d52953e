"""The demo: right totals with a worker killed midway, and nothing run twice the second time."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.cli import demo_texts
from trunkline.contracts import globs, spec, spec_parsing

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="tl-"))
    yield root
    shutil.rmtree(root, ignore_errors=True)


def demo(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trunkline.cli.demo", "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_demo_kills_a_worker_and_counts_right_and_then_skips_everything(home: Path) -> None:
    first = demo(home, "--files", "120")
    assert first.returncode == 0, first.stderr
    assert "*** SIGKILL to worker words-" in first.stderr
    assert "as in the plain count" in first.stderr
    assert re.search(
        r"^datums: 121 processed, 0 skipped, \d+ run again$", first.stdout, re.MULTILINE
    )
    assert len(re.findall(r"^ +[\d,]+  [a-z]+$", first.stdout, re.MULTILINE)) == 20
    second = demo(home, "--files", "120")
    assert second.returncode == 0, second.stderr
    assert "datums: 0 processed, 121 skipped, 0 run again" in second.stdout
    assert "SIGKILL" not in second.stderr


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
