"""The command line. Each module of `verbs` adds its own to `groups.main` when it is imported."""

from trunkline.cli.verbs import data, groups, installations, jobs, pipelines, secrets

__all__ = ["data", "installations", "jobs", "main", "pipelines", "secrets"]

main = groups.main

if __name__ == "__main__":
    main()
