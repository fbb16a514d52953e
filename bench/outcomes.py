"""What a job's outcomes tell, taken one by one: a job may have too many to be held."""

import array
from dataclasses import dataclass, field

from bench import figures
from trunkline.contracts import api, records
from trunkline.contracts.states import JobState


class WrongResultError(Exception):
    """A run ended, but not as it must; its time means nothing."""


@dataclass
class Outcomes:
    """A tally of all datums of a job, in the order of the list."""

    began_ns: int
    """When the job's commit was asked for."""
    ends_ns: "array.array[int]" = field(default_factory=lambda: array.array("q"))
    first_begin_ns: int = 0
    """When the first of them began to execute; 0 if there are none."""
    output_bytes: int = 0
    again: int = 0
    """Datums of more than one attempt, by the ledger."""
    commands: int = 0
    """Datums that were a process."""

    def add(self, view: api.DatumView) -> None:
        """Take the next datum; raise WrongResultError if it is missing or without an outcome."""
        outcome = view.outcome
        if view.index != len(self.ends_ns) or outcome is None:
            told = f"datum {len(self.ends_ns)} has no outcome: {view}"
            raise WrongResultError(told)
        took_s = outcome.figures.process_s + outcome.figures.upload_s
        begin_ns = outcome.ended_ns - int(took_s * 1e9)
        self.first_begin_ns = min(begin_ns, self.first_begin_ns or begin_ns)
        self.ends_ns.append(outcome.ended_ns)
        self.output_bytes += outcome.output_bytes
        self.again += outcome.attempts > 1
        self.commands += outcome.figures.cpu_s > 0

    def check(self, job: records.Job, count: int) -> None:
        """Raise WrongResultError unless the job is a success with one outcome for each datum."""
        if job.state is not JobState.SUCCESS:
            told = f"{job.state}: {job.reason}"
            raise WrongResultError(told)
        counted = job.counts.processed + job.counts.recovered
        if len(self.ends_ns) != count or counted != count:
            told = f"{len(self.ends_ns)} outcomes, {job.counts} of {count} datums"
            raise WrongResultError(told)

    @property
    def moments(self) -> list[float]:
        """When outcomes were made, in seconds after the commit, in order of time."""
        return sorted((each - self.began_ns) / 1e9 for each in self.ends_ns)

    @property
    def first_begin_s(self) -> float:
        """Seconds from the commit to the moment at which the first datum began to execute."""
        return (self.first_begin_ns - self.began_ns) / 1e9

    @property
    def steady_s(self) -> float:
        """See `figures.steady_seconds`; what outcomes say of themselves does not lag."""
        samples = [(moment, number + 1) for number, moment in enumerate(self.moments)]
        return figures.steady_seconds(samples, len(samples))
