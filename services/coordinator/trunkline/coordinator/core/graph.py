"""Pipelines as nodes of the DAG that they make by reading from each other.

An edge goes from whose repo is read to who reads it. There is no cycle: no spec that closes one is accepted
(`cycles`), and what lay on one, or behind it, would have no place in the order.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trunkline.contracts import records, spec
from trunkline.contracts.states import PipelineState


@dataclass(frozen=True)
class Node:
    """A pipeline that makes jobs, as far as the DAG is concerned."""

    name: str
    version: int
    inputs: tuple[spec.PfsInput, ...]
    crons: tuple[spec.CronInput, ...] = ()
    output_branch: str = "master"
    set_id: str = ""
    salt: str = ""
    since: int = 0
    """The oldest version whose jobs count; 0 for `version`."""
    starts: int = 0
    reprocess: bool = False
    """Whether the job of `set_id` skips nothing."""

    @property
    def oldest(self) -> int:
        """Return the oldest version whose jobs count as this one's."""
        return self.since or self.version


def node(pipeline: records.Pipeline) -> Node | None:
    """Return the pipeline's place in the DAG, or None if it makes no jobs now."""
    if pipeline.spec is None or pipeline.state in (PipelineState.STOPPED, PipelineState.DELETING):
        return None
    return Node(
        name=pipeline.name,
        version=pipeline.version,
        inputs=spec.inputs(pipeline.spec.input),
        crons=tuple(spec.crons(pipeline.spec.input)),
        output_branch=pipeline.spec.output_branch,
        set_id=pipeline.set_id,
        salt=pipeline.salt,
        since=pipeline.since,
        starts=pipeline.starts,
        reprocess=pipeline.reprocess,
    )


def upstream_first(nodes: Mapping[str, Node]) -> list[Node]:
    """Return the nodes, each after all that it reads from; by name where that leaves a choice.

    What lies on a cycle or behind one is left out: no spec that closes one is ever accepted.
    """
    waits: dict[str, int] = {}
    readers: dict[str, list[str]] = {}
    for name, each in nodes.items():
        upstream = {leaf.repo for leaf in each.inputs} & nodes.keys()
        waits[name] = len(upstream)
        for repo in upstream:
            readers.setdefault(repo, []).append(name)
    ordered: list[Node] = []
    free = sorted(name for name, count in waits.items() if not count)
    while free:
        ordered += [nodes[name] for name in free]
        following: list[str] = []
        for reader in (each for name in free for each in readers.get(name, ())):
            waits[reader] -= 1
            if not waits[reader]:
                following.append(reader)
        free = sorted(following)
    return ordered
