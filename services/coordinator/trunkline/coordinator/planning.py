"""What a spec would do if it were applied: a dry run, after which everything is as it was.

The specs of one request are decided about one after the other, as `apply` would, each with those before it taken
for applied; all that is wrong with any of them is told at once. Then each one's first job is listed
from the heads that are there now, and looked up in the done index, as its listing would be. That takes
as long as a listing does, so it is cut off after some seconds or datums, and says so.
"""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

from trunkline.contracts import api, errors, parallelism, records, spec, spec_parsing
from trunkline.coordinator import beginning
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.core import conduct, jobsets
from trunkline.coordinator.core import pipelines as core
from trunkline.coordinator.core.datums import Datum
from trunkline.coordinator.inputs import Inputs, Portions
from trunkline.coordinator.lookup import Lookup
from trunkline.coordinator.settings import Settings
from trunkline.coordinator.tables import NODES_KEY
from trunkline.runtime.clock import Clock
from trunkline.storage.store import Store

PLAN_S = 5.0
"""Seconds for all listings of one request, which is answered within twice that."""
MOST = 1_000_000
"""Datums of one listing."""
SHOWN = 100
"""The first so many datums are told one by one, over all specs of a request."""
_PATHS_CHARS = 1000
_AT_ONCE = 512


@dataclass
class _Listed:
    """What came of a listing so far."""

    shown: int = 0
    """How many are told one by one."""
    datums: int = 0
    size: int = 0
    skipped: int = 0
    cut: bool = False
    first: list[api.PlannedDatum] = field(default_factory=list)

    def add(self, datums: Sequence[Datum], done: frozenset[bytes]) -> None:
        self.datums += len(datums)
        for datum in datums:
            skipped = datum.fingerprint in done
            self.skipped += skipped
            self.size += 0 if skipped else datum.size
            if len(self.first) < self.shown:
                self.first.append(
                    api.PlannedDatum(
                        index=datum.index,
                        id=datum.id,
                        paths=datum.paths[:_PATHS_CHARS],
                        size=datum.size,
                        skipped=skipped,
                    )
                )


class Planning:
    """See the module.

    Args:
        catalog: All that is there.
        store: Holds manifests and done indexes.
        settings: How many workers there may be.
        clock: Says when to stop.
        spool: A directory for scratch files; None for the system's own place.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        settings: Settings,
        clock: Clock,
        spool: Path | None = None,
    ) -> None:
        self._catalog, self._store = catalog, store
        self._settings, self._clock = settings, clock
        self._inputs = Inputs(catalog.tables.commits, store, spool, stores=False)

    async def plan(
        self, body: bytes, *, now: bool = False, reprocess: bool = False
    ) -> list[api.Plan]:
        """Return what each spec in a text would do.

        Args:
            body: The text.
            now: Whether jobs of older versions would be killed.
            reprocess: Whether nothing would count as done.

        Raises:
            InvalidSpecError: with all that is wrong with any of them.
        """
        decisions = self._decide(_parsed(body), now=now, reprocess=reprocess)
        deadline_s = self._clock.monotonic_s() + PLAN_S
        shown = max(1, SHOWN // len(decisions))
        return [await self._plan(each, _Listed(shown), deadline_s) for each in decisions]

    def _decide(
        self, specs: Sequence[spec.PipelineSpec], *, now: bool, reprocess: bool
    ) -> list[core.Accepted | core.Unchanged]:
        pipelines = dict(self._catalog.dag.pipelines)
        installed = replace(self._catalog.installed(), pipelines=pipelines)
        found: list[core.Accepted | core.Unchanged] = []
        problems: list[tuple[str, str]] = []
        for number, wanted in enumerate(specs):
            fresh = core.Fresh(
                set_id=secrets.token_hex(16),
                salt=secrets.token_hex(16),
                now_ns=self._clock.wall_ns(),
                reprocess=secrets.token_hex(16) if reprocess else "",
            )
            decision = core.accept(wanted, installed, fresh, now=now)
            if isinstance(decision, core.Refused):
                problems += _placed(decision.problems, number, len(specs))
                continue
            found.append(decision)
            pipelines[wanted.name] = decision.record
        if problems:
            raise errors.InvalidSpecError(problems)
        return found

    async def _plan(
        self, decision: core.Accepted | core.Unchanged, listed: _Listed, deadline_s: float
    ) -> api.Plan:
        pipeline = decision.record
        assert pipeline.spec is not None  # it was accepted
        current = self._catalog.pipelines.get(pipeline.name)
        inputs, missing = self._heads(pipeline.spec)
        if not missing:
            await self._list(listed, pipeline, inputs, deadline_s)
        fields = ", ".join(pipeline.ignored)
        return api.Plan(
            pipeline=pipeline.name,
            version=pipeline.version,
            changed=isinstance(decision, core.Accepted),
            runs=current is None or pipeline.set_id != current.set_id,
            datums=listed.datums,
            cut=listed.cut,
            bytes=listed.size,
            skipped=listed.skipped,
            kills=self._kills(pipeline),
            workers=await self._workers(pipeline, listed),
            warnings=(
                *(f"{each} has no commit yet: the first job starts with it" for each in missing),
                *((f"without effect in this installation: {fields}",) if fields else ()),
            ),
            first=tuple(listed.first),
        )

    def _kills(self, pipeline: records.Pipeline) -> int:
        jobs = self._catalog.jobs.unsettled(pipeline.name)
        return len(conduct.doomed({pipeline.name: pipeline}, jobs))

    def _heads(self, wanted: spec.PipelineSpec) -> tuple[tuple[records.JobInput, ...], list[str]]:
        """Return the inputs at their heads, and those that have none."""
        heads = self._catalog.heads()
        leaves = spec.inputs(wanted.input)
        inputs = tuple(
            records.JobInput(
                name=leaf.name,
                repo=leaf.repo,
                branch=leaf.branch,
                commit=heads.get((leaf.repo, leaf.branch), ""),
            )
            for leaf in leaves
        )
        return inputs, [f"{each.repo}@{each.branch}" for each in inputs if not each.commit]

    async def _list(
        self,
        listed: _Listed,
        pipeline: records.Pipeline,
        inputs: tuple[records.JobInput, ...],
        deadline_s: float,
    ) -> None:
        wanted = jobsets.Wanted(pipeline.name, secrets.token_hex(16), 0, inputs)
        job = jobsets.record(wanted, pipeline, self._clock.wall_ns())
        lookup = Lookup(self._store, await self._done_runs(job))
        try:
            async with (
                asyncio.timeout(max(0.0, deadline_s - self._clock.monotonic_s())),
                aclosing(self._inputs.datums(job, lambda _: True)) as datums,
            ):
                portions = Portions(datums)
                while some := await portions.next(_AT_ONCE):
                    if listed.datums >= MOST:
                        listed.cut = True
                        break
                    hits = await lookup.find([each.fingerprint for each in some])
                    listed.add(some, frozenset(hits))
                    await asyncio.sleep(0)  # others have their turn, and the time is looked at
        except TimeoutError:
            listed.cut = True

    async def _done_runs(self, job: records.Job) -> tuple[str, ...]:
        if beginning.repeats(job):
            return ()
        entry = await self._catalog.tables.done.get(job.pipeline)
        return () if entry is None or entry.value is None else entry.value.runs

    async def _workers(self, pipeline: records.Pipeline, listed: _Listed) -> int | None:
        """Return how many workers there would be at most; None where no nodes are known."""
        assert pipeline.spec is not None
        eligible = await self._eligible(pipeline.name)
        wanted = pipeline.spec.parallelism_spec
        if eligible is None and wanted.constant is None:
            return None
        settings = self._settings
        most = parallelism.wanted(
            wanted,
            eligible or 0,
            default=settings.default_coefficient,
            most=settings.max_workers,
        )
        if pipeline.spec.standby and not listed.cut:
            return min(most, listed.datums - listed.skipped)
        return most

    async def _eligible(self, pipeline: str) -> int | None:
        """Return how many nodes count for a pipeline, as far as anybody has told."""
        if self._settings.local:
            entry = await self._catalog.tables.nodes.get(NODES_KEY)
            return entry.value.count if entry and entry.value else None
        own = self._catalog.scaling.get(pipeline)
        told = [own] if own else self._catalog.scaling.values()
        return max((each.eligible for each in told), default=None)


def _parsed(body: bytes) -> list[spec.PipelineSpec]:
    documents = spec_parsing.documents(body)
    found: list[spec.PipelineSpec] = []
    problems: list[tuple[str, str]] = []
    for number, document in enumerate(documents):
        try:
            found.append(spec_parsing.convert(document))
        except errors.InvalidSpecError as error:
            problems += _placed(error.problems, number, len(documents))
    if problems:
        raise errors.InvalidSpecError(problems)
    return found


def _placed(
    problems: Sequence[tuple[str, str]], number: int, count: int
) -> Iterator[tuple[str, str]]:
    """Yield problems with the position of their spec, where there are several."""
    for path, text in problems:
        yield (path if count == 1 else f"$[{number}]{path.removeprefix('$')}"), text
