"""Which failures of a run are tried once more: those of few causes, a fixture being one for all who want it."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[3]
GOOD = '<testcase classname="tests.unit.m" name="good"/>'


def failure(name: str) -> str:
    return (
        f'<testcase classname="tests.unit.m" name="{name}"><failure message="assert 0"/></testcase>'
    )


def error(name: str, message: str) -> str:
    return (
        f'<testcase classname="tests.unit.m" name="{name}"><error message="{message}"/></testcase>'
    )


def failed(path: Path, *cases: str) -> tuple[int, list[str]]:
    """Return the code, and which are to be tried once more."""
    result = path / "result.xml"
    result.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    command = [sys.executable, str(PROJECT / ".ci" / "suites.py"), "--failed", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, [line.partition("::")[2] for line in done.stdout.splitlines()]


def test_a_few_failures_and_all_errors_of_one_fixture_are_tried_once_more(tmp_path: Path) -> None:
    of_one = [error(f"e{number}", "failed on setup: no busy worker") for number in range(15)]
    names = [f"e{number}" for number in range(15)]
    assert failed(tmp_path, GOOD, failure("a"), failure("b"), *of_one) == (0, ["a", "b", *names])


def test_failures_of_many_causes_and_a_run_that_ended_without_one_are_not(tmp_path: Path) -> None:
    four = [failure(name) for name in "abcd"]
    assert failed(tmp_path, *four) == (1, [])
    assert failed(tmp_path, *four[:3], error("e", "failed on setup")) == (1, [])
    assert failed(tmp_path, GOOD) == (1, [])
