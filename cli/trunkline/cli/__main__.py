"""The command line. Each module of `verbs` adds its own to `groups.main` when it is imported."""

import io
import os
import sys

from trunkline.cli.verbs import data, groups, installations, jobs, pipelines, secrets
from trunkline.runtime import ending

__all__ = ["command", "data", "installations", "jobs", "main", "pipelines", "secrets"]

main = groups.main


def command() -> None:
    """Entry point of the process `trunkline`.

    What the terminal's encoding has no sign for comes as an escape, and what is said to a closed stream goes nowhere.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115 - for as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    ending.run(main)


if __name__ == "__main__":
    command()
