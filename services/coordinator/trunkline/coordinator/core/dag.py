"""The pipelines of an installation by what they read, and for which of them jobs may be missing.

    something changes --> its pipelines are marked --> `due`: these and all downstream --> derived --> `settle`

Jobs are derived from all that is there (`jobsets`), but of thousands of pipelines one commit or one spec
concerns a few. A pipeline's jobs follow from its own record and jobs, the heads that it reads, and the
jobs of the pipelines that it reads from: whoever changes one of these marks those pipelines, and a
derivation among the marked ones and what lies downstream of them finds what one among all would. Marks stand until
what they asked for is through: a derivation that fails is made again. They are a cache like all memory; now
and then all are marked, so that whatever a mark should have been made for comes right.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from trunkline.contracts import records, spec
from trunkline.contracts.states import PipelineState
from trunkline.coordinator.core import graph
from trunkline.coordinator.core.graph import Node


class Dag:
    """Pipelines at their newest versions. No step costs more than what it concerns."""

    def __init__(self) -> None:
        self._pipelines: dict[str, records.Pipeline] = {}
        self._nodes: dict[str, Node] = {}
        self._ticking: dict[str, Node] = {}
        self._readers: dict[str, dict[str, None]] = {}
        """Repo -> those that read it, each once."""
        self._marks: set[str] = set()

    @property
    def pipelines(self) -> Mapping[str, records.Pipeline]:
        """All pipelines by name, as they are at any time."""
        return MappingProxyType(self._pipelines)

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Those that make jobs."""
        return MappingProxyType(self._nodes)

    @property
    def ticking(self) -> Iterable[Node]:
        """Those that make jobs and have cron inputs."""
        return list(self._ticking.values())

    def readers(self, repo: str) -> list[str]:
        """Return the names of the pipelines that read a repo, sorted; none that is being deleted."""
        return sorted(self._readers.get(repo, ()))

    def put(self, name: str, pipeline: records.Pipeline | None) -> None:
        """Take over a pipeline's record; None: it is gone."""
        for repo in reads(self._pipelines.pop(name, None)):
            self._readers[repo].pop(name, None)
            if not self._readers[repo]:
                del self._readers[repo]
        self._nodes.pop(name, None)
        self._ticking.pop(name, None)
        self.mark(name)
        if pipeline is None:
            return
        self._pipelines[name] = pipeline
        for repo in reads(pipeline):
            self._readers.setdefault(repo, {})[name] = None
        node = graph.node(pipeline)
        if node is not None:
            self._nodes[name] = node
            if node.crons:
                self._ticking[name] = node

    def mark(self, *names: str) -> None:
        """Have the jobs of pipelines derived, and of those downstream."""
        self._marks.update(names)

    def mark_readers(self, repo: str) -> None:
        """Have the jobs of all that read a repo derived, and of those downstream."""
        self._marks.update(self._readers.get(repo, ()))

    def mark_all(self) -> None:
        """Have all jobs derived."""
        self._marks.update(self._nodes)

    def take_marks(self) -> set[str]:
        """Return the marks, and begin anew; who does not come through with them marks them again."""
        marks, self._marks = self._marks, set()
        return marks

    def due(self, marks: Iterable[str]) -> list[Node]:
        """Return the pipelines for which jobs may be missing: the marked ones, and all downstream."""
        found: dict[str, None] = {}
        todo = list(marks)
        while todo:
            name = todo.pop()
            if name not in found:
                found[name] = None
                todo += self._readers.get(name, ())
        return [node for name in sorted(found) if (node := self._nodes.get(name)) is not None]


def reads(pipeline: records.Pipeline | None) -> list[str]:
    """Return the repos that a pipeline reads, which is none when it is being deleted."""
    if pipeline is None or pipeline.spec is None or pipeline.state is PipelineState.DELETING:
        return []
    return list(dict.fromkeys(leaf.repo for leaf in spec.inputs(pipeline.spec.input)))
