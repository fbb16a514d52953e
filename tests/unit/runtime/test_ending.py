"""A process ends with its code and all that it printed, whatever its threads are at."""

import subprocess
import sys

import pytest

TOLD = """
import sys, threading, time
from trunkline.runtime import ending

def main():
    threading.Thread(target=time.sleep, args=(600,)).start()
    print("told")
    {leave}

ending.run(main)
"""


def ended(leave: str, stdout: int = subprocess.PIPE) -> tuple[int, str, str]:
    command = [sys.executable, "-c", TOLD.format(leave=leave)]
    done = subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=20
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("leave", "code"),
    [("pass", 0), ("sys.exit()", 0), ("sys.exit(4)", 4), ("sys.exit('no')", 1), ("1 / 0", 1)],
)
def test_the_code_is_what_main_leaves_with_and_no_thread_is_waited_for(
    leave: str, code: int
) -> None:
    assert ended(leave)[:2] == (code, "told\n")


def test_an_error_that_nobody_caught_is_shown_with_where_it_was() -> None:
    told = ended("1 / 0")[2]
    assert told.startswith("Traceback")
    assert "ZeroDivisionError" in told


def test_what_a_process_leaves_with_is_told() -> None:
    assert ended("sys.exit('no')")[2] == "no\n"


def test_what_cannot_be_written_is_no_success() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a file to be written to, not read
        code, _, told = ended("pass", stdout=full.fileno())
    assert code == 1
    assert "No space left" in told
