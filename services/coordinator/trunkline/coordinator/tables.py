"""The buckets that the coordinator keeps its state in, typed, and the keys in them."""

from dataclasses import dataclass, fields

from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Table
from trunkline.bus.tables import KvTable
from trunkline.contracts import names, records, subjects


@dataclass(frozen=True)
class Tables:
    """All buckets of the account CTL. The coordinator alone writes them, but for `scaling`."""

    pipelines: Table[records.Pipeline]
    repos: Table[records.Repo]
    branches: Table[records.Branch]
    commits: Table[records.Commit]
    jobs: Table[records.Job]
    done: Table[records.DoneIndex]
    nodes: Table[records.Nodes]
    scaling: Table[records.Scaling]

    @property
    def problems(self) -> list[str]:
        """Return which records cannot be read, of those that were looked at."""
        return [text for each in fields(self) for text in getattr(self, each.name).problems]


def tables_of(ctl: NatsConnection) -> Tables:
    """Return the buckets of the account CTL."""
    return Tables(
        pipelines=KvTable(ctl, subjects.PIPELINES, records.Pipeline, owner=True),
        repos=KvTable(ctl, subjects.REPOS, records.Repo, owner=True),
        branches=KvTable(ctl, subjects.BRANCHES, records.Branch, owner=True),
        commits=KvTable(ctl, subjects.COMMITS, records.Commit, owner=True),
        jobs=KvTable(ctl, subjects.JOBS, records.Job, owner=True),
        done=KvTable(ctl, subjects.DONE, records.DoneIndex, owner=True),
        nodes=KvTable(ctl, subjects.NODES, records.Nodes, owner=True),
        scaling=KvTable(ctl, subjects.SCALING, records.Scaling, owner=True),
    )


NODES_KEY = "local"
"""The one key of the bucket of logical nodes."""


def version_key(pipeline: str, version: int) -> str:
    """Return the key of one version in a pipeline's history."""
    return f"{names.pipeline(pipeline)}.{version:d}"


def branch_key(repo: str, branch: str) -> str:
    """Return the key of a branch."""
    return f"{names.repo(repo)}.{names.branch(branch)}"


def commit_key(repo: str, commit: str) -> str:
    """Return the key of a commit."""
    return f"{names.repo(repo)}.{names.commit(commit)}"


def job_key(pipeline: str, job: str) -> str:
    """Return the key of a job."""
    return f"{names.pipeline(pipeline)}.{names.commit(job)}"
