"""The command line. Each module of `verbs` adds its own to `groups.main` when it is imported."""

from trunkline.cli.verbs import data, groups, installations, jobs, pipelines, secrets
from trunkline.runtime import ending

__all__ = ["command", "data", "installations", "jobs", "main", "pipelines", "secrets"]

main = groups.main


def command() -> None:
    """Entry point of the process `trunkline`."""
    ending.run(main)


if __name__ == "__main__":
    command()
