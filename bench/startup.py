"""CPU seconds of `trunkline --help`, of one completion and of a verb's help: what each Tab and each typing costs.

    python -m bench.startup [--runs 20]

User and system time of the whole process, as the kernel charges it; wall time would say what else the machine does.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

LIMIT_S = 0.15
"""What `--help` may cost."""

COMMANDS: dict[str, tuple[list[str], dict[str, str]]] = {
    "trunkline --help": (["--help"], {}),
    "trunkline list jobs --help": (["list", "jobs", "--help"], {}),
    "Tab after `trunkline ins`": (
        [],
        {
            "_TRUNKLINE_COMPLETE": "bash_complete",
            "COMP_WORDS": "trunkline ins",
            "COMP_CWORD": "1",
        },
    ),
}


def main() -> None:
    """Measure and print; leave with 1 if `--help` costs more than it may."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    asked = parser.parse_args()
    medians = {}
    print(f"{'':30} {'min':>7} {'median':>7} {'max':>7}   CPU seconds of {asked.runs} runs")
    for name, (arguments, environ) in COMMANDS.items():
        spent = sorted(cpu_s(arguments, environ) for _ in range(asked.runs))
        medians[name] = statistics.median(spent)
        print(f"{name:30} {spent[0]:7.3f} {medians[name]:7.3f} {spent[-1]:7.3f}")
    sys.exit(medians["trunkline --help"] > LIMIT_S)


def cpu_s(arguments: list[str], environ: dict[str, str]) -> float:
    """Return what one run costs."""
    program = Path(sys.executable).with_name("trunkline")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [program, *arguments],
        env={**os.environ, **environ},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    main()
