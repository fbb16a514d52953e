"""Fail when a suite of tests did not run: nothing collected, or everything skipped.

Reads pytest's JUnit files; a suite is a directory below tests/ that holds test files.
"""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree


def main(results: list[str]) -> None:
    """Print how many tests of each suite ran and were skipped."""
    ran, skipped = Counter[str](), Counter[str]()
    cases = (
        case
        for path in results
        for case in ElementTree.parse(path).iter("testcase")  # noqa: S314 - we have just made it
    )
    for case in cases:
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


if __name__ == "__main__":
    main(sys.argv[1:])
