"""The datums of a job against its outcomes: which have none, which several, which somebody else's.

Datums are told by index, in the order of the listing; outcomes in any order, wherever they lie. Memory
is 17 bytes a datum: how many outcomes it has, and its fingerprint, which is a hash over its inputs, their
contents and the code. So an outcome that has a datum's fingerprint is that datum's.
"""

from collections.abc import Callable, Iterator
from itertools import islice

from trunkline.audit.core import findings
from trunkline.audit.core.findings import Finding
from trunkline.contracts import records
from trunkline.contracts.states import DatumState, JobState

_BYTES = 16
"""Of a fingerprint."""
_MANY = 255
_NOBODY = bytes(_BYTES)
"""The fingerprint of an outcome that could not be right, and was counted as a failure."""


class Tally:
    """See the module. Each outcome raises the count of one index, or is told as a stranger."""

    def __init__(self) -> None:
        self._counts = bytearray()
        self._fingerprints = bytearray()
        self._states = dict.fromkeys(DatumState, 0)
        self._strangers: list[str] = []
        self._foreign: list[str] = []
        self.retried = 0
        self._copied = 0

    @property
    def datums(self) -> int:
        """How many there are."""
        return len(self._counts)

    @property
    def outcomes(self) -> int:
        """How many were told."""
        return sum(self._states.values())

    def list_datum(self, fingerprint: bytes) -> None:
        """Take the next datum of the listing."""
        self._counts.append(0)
        self._fingerprints += fingerprint

    def suppose(self, datums: int) -> None:
        """Take it that there are so many datums, of which no more is known."""
        self._counts = bytearray(datums)
        self._fingerprints.clear()

    def take(
        self,
        index: int,
        state: DatumState,
        fingerprint: bytes,
        attempts: int,
        *,
        copied: bool = False,
    ) -> None:
        """Take an outcome; `copied`: of a datum that two workers have tried at once."""
        self._states[state] += 1
        if state is not DatumState.SKIPPED:
            self.retried += max(attempts - 1, 0)
            self._copied += copied
        if not 0 <= index < len(self._counts):
            self._strangers.append(f"an outcome of index {index}, which no datum has")
            return
        self._counts[index] = min(self._counts[index] + 1, _MANY)
        if fingerprint != _NOBODY and self._expected(index) not in (b"", fingerprint):
            self._foreign.append(f"the outcome of datum {index} is another datum's")

    def misplaced(self, index: int, why: str) -> None:
        """Take it that what lies in an outcome's place is none of this datum's."""
        self._foreign.append(f"the outcome of datum {index}: {why}")

    @property
    def lost(self) -> int:
        """How many datums have no outcome."""
        return self._counts.count(0)

    @property
    def twice(self) -> int:
        """How many datums have more than one, and outcomes no datum."""
        return len(self._counts) - self.lost - self._counts.count(1) + len(self._strangers)

    def findings(self, job: records.Job) -> Iterator[Finding]:
        """Yield what is to be said of the job's outcomes."""
        lost = [f"datum {index} has no outcome" for index in self._of(lambda count: count == 0)]
        told = f"{self.lost} datums have no outcome"
        if not _is_whole(job):
            told, lost = f"{told}: it was ended before", []
        yield findings.judged("none lost", told, lost)
        twice = [
            f"datum {index} has {self._counts[index]} outcomes"
            for index in self._of(lambda count: count > 1)
        ]
        twice += self._strangers
        yield findings.judged("none twice", f"{self.twice} outcomes are too many", twice)
        told = f"{len(self._foreign)} outcomes are not those of their datums"
        yield findings.judged("each its own", told, self._foreign)
        if job.outcomes:
            yield self._counted(job)

    def _counted(self, job: records.Job) -> Finding:
        states = _as_counts(self._states, self._copied)
        wrong = [] if states == job.counts else [f"the job's record says {_shown(job.counts)}"]
        return findings.judged("counts", _shown(states), wrong)

    def _expected(self, index: int) -> bytes:
        return bytes(self._fingerprints[_BYTES * index : _BYTES * (index + 1)])

    def _of(self, wanted: Callable[[int], bool]) -> Iterator[int]:
        found = (index for index, count in enumerate(self._counts) if wanted(count))
        return islice(found, findings.SHOWN)


def _is_whole(job: records.Job) -> bool:
    """Whether each datum must have an outcome, as in a job that came to its own end."""
    failed = job.state is JobState.FAILURE and job.total is not None
    return failed or job.state is JobState.SUCCESS


def _as_counts(states: dict[DatumState, int], copied: int) -> records.Counts:
    return records.Counts(
        processed=states[DatumState.PROCESSED],
        skipped=states[DatumState.SKIPPED],
        recovered=states[DatumState.RECOVERED],
        failed=states[DatumState.FAILED],
        quarantined=states[DatumState.QUARANTINED],
        copied=copied,
    )


def _shown(counts: records.Counts) -> str:
    found = {name: getattr(counts, name) for name in counts.__struct_fields__}
    return ", ".join(f"{count} {name}" for name, count in found.items() if count) or "none"
