"""The names by which other verbs know a record, so that `xargs` can hand on what `-o name` prints; where none asks for such a one, a label."""

from collections.abc import Callable
from typing import Any

from trunkline.audit.core.findings import Report
from trunkline.cli.core.board import Board
from trunkline.contracts import api, messages, records

_BY_KIND: dict[type, Callable[[Any], str]] = {
    Report: lambda report: f"{report.pipeline}@{report.job}",
    Board: lambda board: "\n".join(each.name for each in board.jobs),
    api.DatumView: lambda view: str(view.index),
    api.LogEntry: lambda entry: f"{entry.job} {entry.line.index}",
    api.PipelineView: lambda view: view.pipeline.name,
    api.Plan: lambda plan: plan.pipeline,
    api.PlannedDatum: lambda datum: str(datum.index),
    api.RepoView: lambda view: view.repo.name,
    api.Ticked: lambda ticked: "\n".join(f"{each.repo}@{each.id}" for each in ticked.commits),
    api.Status: lambda status: status.version,
    api.Collection: lambda collection: f"gc/{collection.began_ns}",
    messages.Event: lambda event: f"{event.pipeline}/{event.kind}",
    messages.File: lambda file: file.path,
    records.Branch: lambda branch: f"{branch.repo}@{branch.name}",
    records.Commit: lambda commit: f"{commit.repo}@{commit.id}",
    records.Job: lambda job: f"{job.pipeline}@{job.id}",
    records.Nodes: lambda nodes: str(nodes.count),
    records.Scaling: lambda scaling: "\n".join(each.name for each in scaling.workers),
}


def of(record: Any) -> str:  # noqa: ANN401 - any record that a verb prints
    """Return the name of a record; of one that stands for several things, a line each."""
    named = _BY_KIND.get(type(record))
    return named(record) if named else str(getattr(record, "name", "") or record.pipeline)
