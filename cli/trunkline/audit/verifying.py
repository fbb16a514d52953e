"""The audit of one job: what must hold of it if nothing was lost, and nothing was done twice.

1. The datums are listed anew from the input commits; the record says as many.
2. Each datum has one outcome and no more, the skipped ones that of an earlier job: none lost, none twice,
   each its own (by fingerprint), and as many of each kind as the record says.
3. The output commit is the merge of the files that these outcomes name; each job that succeeded has one,
   be it of no files.
4. Every byte of it can be read, and has the hash that it was written with.

Where what would tell is gone in good order (an old commit's record), the finding is *unknown*; where it
is gone though something still names it, it is broken.

Outcomes that are in no archive yet are read from whichever server of a cluster answers, and its copy may be
behind (see `bus.newest`). So what is missing there is looked for again, for as long as a server may need
to have all that the others have, before it counts as lost.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from trunkline.audit.core import findings
from trunkline.audit.core.findings import Finding, Report
from trunkline.audit.core.tally import Tally
from trunkline.audit.evidence import Evidence, NotEndedError
from trunkline.audit.outputs import DAMAGE, Output
from trunkline.contracts import errors, records
from trunkline.contracts.messages import Outcome
from trunkline.contracts.states import DatumState, JobState
from trunkline.storage import manifests
from trunkline.storage.sorting import Sorter

BEHIND_S = 15.0
"""Seconds for which a copy of the outcomes may be behind; one that was killed is not in a few."""
_AGAIN_S = 0.5


async def verify(evidence: Evidence, job: records.Job, *, behind_s: float = BEHIND_S) -> Report:
    """Look a job over.

    Args:
        evidence: What there is to read.
        job: Its record.
        behind_s: For how long a copy may be behind.

    Raises:
        NotEndedError: it is still at work.
        UnavailableError: the server or the store is away.
    """
    if not job.state.ended:
        raise NotEndedError(job)
    deadline_s = time.monotonic() + behind_s
    while True:
        report = await _Audit(evidence, job).run()
        latest = await evidence.job(job.pipeline, job.id)
        if latest.outcomes != job.outcomes:
            job = latest  # its outcomes were put away, and the stream cleared, while it was read
        elif job.outcomes or not report.broken or time.monotonic() >= deadline_s:
            return report
        else:
            await asyncio.sleep(_AGAIN_S)


class _Audit:
    def __init__(self, evidence: Evidence, job: records.Job) -> None:
        self._evidence, self._job = evidence, job
        self._tally = Tally()
        self._output = Output(evidence.store)
        self._found: list[Finding] = []

    async def run(self) -> Report:
        await self._list()
        with Sorter(self._evidence.spool) as sorter:
            await self._take(sorter)
            await self._look_at_output(sorter)
        tally, output, job = self._tally, self._output, self._job
        return Report(
            pipeline=job.pipeline,
            job=job.id,
            state=str(job.state),
            datums=tally.datums,
            outcomes=tally.outcomes,
            lost=tally.lost,
            twice=tally.twice,
            retried=tally.retried,
            files=output.files,
            bytes=output.bytes,
            findings=tuple(self._found),
        )

    async def _list(self) -> None:
        """Tell the tally what datums there are."""
        job, tally = self._job, self._tally
        if job.total is None:
            tally.suppose(job.listed_to)
            told = f"it ended while it was listed: {job.listed_to} datums are known"
            self._found.append(findings.judged("datums", told, ()))
            return
        try:
            async with aclosing(self._evidence.datums(job)) as listed:
                async for datums in listed:
                    for datum in datums:
                        tally.list_datum(datum.fingerprint)
        except DAMAGE as error:
            tally.suppose(job.total)
            told = f"{job.total} by the record; its inputs cannot be listed anew: {error}"
            self._found.append(findings.unknown("datums", told))
            return
        wrong = [] if tally.datums == job.total else [f"the job's record says {job.total}"]
        told = f"{tally.datums} listed anew from the inputs"
        self._found.append(findings.judged("datums", told, wrong))

    async def _take(self, sorter: Sorter) -> None:
        """Tell the tally what outcomes there are, and gather what they have written."""
        job = self._job
        before = len(self._found)
        try:
            await self._take_all(self._evidence.own(job), sorter, skipped=False)
            await self._take_all(self._evidence.skipped(job), sorter, skipped=True)
        except DAMAGE as error:
            self._found.append(findings.broken("outcomes", f"they cannot be read: {error}"))
        told = f"{self._tally.outcomes} of {self._tally.datums} datums"
        if len(self._found) == before:
            self._found.append(findings.judged("outcomes", told, ()))
        self._found += self._tally.findings(job)

    async def _take_all(
        self, outcomes: AsyncGenerator[tuple[int, Outcome], None], sorter: Sorter, *, skipped: bool
    ) -> None:
        async with aclosing(outcomes) as found:
            async for index, outcome in found:
                state = DatumState.SKIPPED if skipped else outcome.state
                self._tally.take(
                    index,
                    state,
                    bytes.fromhex(outcome.fingerprint.zfill(32)),
                    outcome.attempts,
                    copied=any(each.copy for each in outcome.history),
                )
                if not skipped and (why := self._misplaced(index, outcome)):
                    self._tally.misplaced(index, why)
                if self._job.output:
                    await self._gather(index, outcome, sorter)

    def _misplaced(self, index: int, outcome: Outcome) -> str:
        """Return why an outcome does not belong where it lies; empty if it does."""
        job = self._job
        if (outcome.pipeline, outcome.job) != (job.pipeline, job.id):
            return f"it is one of {outcome.pipeline}@{outcome.job}"
        if outcome.index != index:
            return f"it names datum {outcome.index}"
        if outcome.generation != job.generations.get(str(index), 1):
            return f"it is of generation {outcome.generation}"
        return ""

    async def _gather(self, index: int, outcome: Outcome, sorter: Sorter) -> None:
        if outcome.files is not None:
            await sorter.add(outcome.files, index)
        elif outcome.manifest:
            manifest = await manifests.open_manifest(self._evidence.store, outcome.manifest)
            async for batch in manifest.batches():
                await sorter.add(batch, index)

    async def _look_at_output(self, sorter: Sorter) -> None:
        job = self._job
        if not job.output:
            wrong = ["its record names no commit"] if job.state is JobState.SUCCESS else []
            self._found.append(findings.judged("output", f"none: the job is {job.state}", wrong))
            return
        commit = await self._evidence.commit(job.pipeline, job.output)
        if commit is None:
            told = "the output commit's record was taken away (TRUNKLINE_KEEP_COMMITS)"
            self._found.append(findings.unknown("output", told))
            return
        self._found.append(await self._output.compare(job, commit, sorter))
        self._found.append(await self._output.read(commit))


def as_error(report: Report) -> errors.TrunklineError | None:
    """Return what to end with: None if all holds."""
    named = f"{report.pipeline}@{report.job}"
    if report.broken:
        return BrokenError(named, [each.check for each in report.broken])
    if report.unknown:
        what = ", ".join(each.check for each in report.unknown)
        return errors.NotFoundError("what would tell", f"{what} of {named}")
    return None


class BrokenError(errors.TrunklineError):
    """A job is not what it should be."""

    def __init__(self, named: str, checks: list[str]) -> None:
        super().__init__(f"{named} does not hold: {', '.join(checks)}")
        self.named, self.checks = named, tuple(checks)
