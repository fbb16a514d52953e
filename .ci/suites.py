"""Fail when a suite of tests did not run: nothing collected, or everything skipped.

Reads pytest's JUnit files; a suite is a directory below tests/ that holds test files. With `--failed` it prints
the names of the tests that failed instead, and fails when there are none, or of more causes than chance has at once.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

MOST = 3
"""Causes for which tests may have failed and be run once more."""


def main(results: list[str]) -> None:
    """Print how many tests of each suite ran and were skipped."""
    ran, skipped = Counter[str](), Counter[str]()
    for case in _cases(results):
        suite = case.get("classname", "").split(".")[1]
        (skipped if case.find("skipped") is not None else ran)[suite] += 1
    suites = sorted(
        {path.relative_to("tests").parts[0] for path in Path("tests").rglob("test_*.py")}
    )
    for suite in suites:
        sys.stdout.write(f"{suite}: {ran[suite]} ran, {skipped[suite]} skipped\n")
    idle = [suite for suite in suites if not ran[suite]]
    if idle or not suites:
        sys.exit(f"no test ran in: {', '.join(idle) or 'tests'}")


def name_failed(results: list[str]) -> None:
    """Print the tests that failed, a line each."""
    causes = {
        name: cause
        for case in _cases(results)
        if (cause := _cause(case, name := f"{case.get('classname')}::{case.get('name')}"))
    }
    if not causes:
        sys.exit("no test failed by itself")
    if len(set(causes.values())) > MOST:
        sys.exit(f"{len(causes)} tests failed, of more than {MOST} causes: {', '.join(causes)}")
    sys.stdout.write("".join(f"{name}\n" for name in causes))


def _cause(case: ElementTree.Element, name: str) -> str:
    """Return what a test failed of, if it did: of itself, or of a fixture, which fails all who want it by one message."""
    if case.find("failure") is not None:
        return name
    error = case.find("error")
    return "" if error is None else error.get("message") or name


def _cases(results: list[str]) -> Iterator[ElementTree.Element]:
    for path in results:
        yield from ElementTree.parse(path).iter("testcase")  # noqa: S314 - we have just made it


if __name__ == "__main__":
    if sys.argv[1] == "--failed":
        name_failed(sys.argv[2:])
    else:
        main(sys.argv[1:])
