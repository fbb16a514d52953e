"""Which records may go: jobs that nothing follows from any more, and commits that no branch needs.

*Jobs.* What jobs there must be is derived from what jobs there are (`jobsets`), so one that is taken
away must not be wanted again. A derivation asks for sets by their ids: those in which a job is not
settled, those that begin at the head of a branch or have brought it there, and those that a pipeline's
version sets off itself. Of these all jobs are needed, whichever their pipeline: one that has failed is
why there is none downstream. Needed, too, is who has read what is at the head of a branch, and of each
pipeline the newest job, and the newest that is no rerun. All others may go: nothing is derived anew
without them. Of those, the newest are kept for people.

*Commits.* Reachable ones are those at a branch's head and before it, up to a number of them for each
branch. Others may go once they are older than anything that is just being made (a commit's record is
there before its branch moves), and unless a job that is not settled reads them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from trunkline.contracts import records
from trunkline.coordinator.core.jobsets import Heads


def sets(
    unsettled: Iterable[records.Job], pipelines: Iterable[records.Pipeline], heads: Heads
) -> frozenset[str]:
    """Return the ids of the job sets that a derivation may ask for."""
    under_way = {each.id for each in unsettled}
    own = {each.set_id for each in pipelines if each.set_id}
    return frozenset(under_way | own | set(heads.values()))


@dataclass(frozen=True, slots=True)
class Read:
    """The commits of all repos that unsettled jobs need, found by one look at the jobs for all repos."""

    inputs: Mapping[str, Collection[str]]
    """By repo, what is read of it."""
    made: frozenset[str]
    """Ids of what is about to be made, in whichever repo."""

    def has(self, commit: records.Commit) -> bool:
        """Return whether a commit is one of them."""
        return commit.id in self.made or commit.id in self.inputs.get(commit.repo, ())


def read(unsettled: Iterable[records.Job]) -> Read:
    """Return the commits that these jobs read, or are about to make."""
    inputs: dict[str, set[str]] = {}
    made: set[str] = set()
    for job in unsettled:
        made.add(job.id)
        for each in job.inputs:
            inputs.setdefault(each.repo, set()).add(each.commit)
    return Read(inputs, frozenset(made))


def needed(job: records.Job, heads: Heads, asked_for: Collection[str]) -> bool:
    """Return whether a job must stay, whatever its age; its being the newest is another reason.

    Args:
        job: A settled one.
        heads: Of all branches.
        asked_for: See `sets`.
    """
    return job.id in asked_for or any(
        (each.commit or job.id) == heads.get((each.repo, each.branch)) for each in job.inputs
    )


def spare_jobs(
    settled: Iterable[records.Job], heads: Heads, asked_for: Collection[str], keep: int
) -> list[records.Job]:
    """Return which of one pipeline's settled jobs may go.

    Args:
        settled: All of them.
        heads: Of all branches.
        asked_for: See `sets`.
        keep: How many of the newest stay.
    """
    found = sorted(settled, key=lambda each: each.order)
    last = newest(found)
    return [
        each
        for each in found[: -keep or None]
        if each.id not in last and not needed(each, heads, asked_for)
    ]


def newest(jobs: Iterable[records.Job]) -> frozenset[str]:
    """Return the ids of a pipeline's newest job, and of the newest that is no rerun."""
    found = sorted(jobs, key=lambda each: each.order)
    own = [each for each in found if not each.rerun_of]
    return frozenset(each.id for each in (*found[-1:], *own[-1:]))


def spare_commits(
    commits: Mapping[str, records.Commit],
    heads: Iterable[str],
    read: Read,
    *,
    keep: int,
    before_ns: int,
) -> list[records.Commit]:
    """Return which commits of a repo may go.

    Args:
        commits: All of the repo, by id.
        heads: Of its branches.
        read: What jobs need that are not settled.
        keep: How many of each branch stay; 0 for all.
        before_ns: Only older ones go.
    """
    kept: set[str] = set()
    for head in heads:
        kept.update(_newest(commits, head, keep or len(commits)))
    return [
        each
        for each in commits.values()
        if each.id not in kept and not read.has(each) and each.created_ns < before_ns
    ]


def _newest(commits: Mapping[str, records.Commit], head: str, most: int) -> Sequence[str]:
    found: list[str] = []
    while len(found) < most and (commit := commits.get(head)) is not None:
        found.append(head)
        head = commit.parent
    return found
