"""The command line. Each module of `verbs` adds its own to `groups.main` when it is imported."""

from trunkline.cli.verbs import data, groups, installations, jobs, pipelines

__all__ = ["data", "installations", "jobs", "main", "pipelines"]

main = groups.main

if __name__ == "__main__":
    main()
