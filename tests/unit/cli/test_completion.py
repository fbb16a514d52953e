"""Completion as real shells ask for it, without an installation; `tests/system` has names of what there is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support import shells

from trunkline.cli.__main__ import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script_that_it_can_read(shell: str) -> None:
    script = CliRunner().invoke(main, ["completion", shell]).output
    assert "_TRUNKLINE_COMPLETE" in script
    if program := shells.program(shell):
        read = subprocess.run([program, "-n"], input=script, text=True, check=False)
        assert read.returncode == 0


def test_a_bash_completes_verbs_and_says_nothing_where_no_installation_is(tmp_path: Path) -> None:
    bin_ = str(Path(sys.executable).parent)
    environ = {"PATH": f"{bin_}:{os.environ['PATH']}", "TRUNKLINE_HOME": str(tmp_path)}
    assert shells.bash(["trunkline ins", "trunkline wait wo"], environ) == [["inspect"], []]


@shells.here
def test_a_shell_completes_files_and_values_also_in_one_word_with_their_option(
    shell: str, tmp_path: Path
) -> None:
    bin_ = str(Path(sys.executable).parent)
    environ = {"PATH": f"{bin_}:{os.environ['PATH']}", "TRUNKLINE_HOME": str(tmp_path)}
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "fi,le").touch()
    (tmp_path / "pipeline.json").touch()
    asked = {
        "trunkline apply --file=p": "trunkline apply --file=pipeline.json ",
        "trunkline put in@master -f deep/f": "trunkline put in@master -f deep/fi,le ",
        "trunkline list jobs --output=j": "trunkline list jobs --output=json ",
    }
    assert shells.typed(shell, list(asked), environ, tmp_path) == list(asked.values())
