"""Which records may go: jobs that nothing follows from any more, and commits that no branch needs.

*Jobs.* What jobs there must be is derived from what jobs there are (`jobsets`), so one that is taken
away must not be wanted again. Needed are: every job that is not settled, and all of its set; the job
set of the pipeline's version itself; each job that has read what is at the head of a branch now, or
whose output is there; and the pipeline's newest job, and the newest that is no rerun. All others may go: nothing is derived anew
without them. Of those, the newest are kept for people.

*Commits.* Reachable ones are those at a branch's head and before it, up to a number of them for each
branch. Others may go once they are older than anything that is just being made (a commit's record is
there before its branch moves), and unless a job that is not settled reads them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from trunkline.contracts import records
from trunkline.coordinator.core.jobsets import Heads


def needed(
    job: records.Job, pipeline: records.Pipeline | None, heads: Heads, under_way: Collection[str]
) -> bool:
    """Return whether a job must stay, whatever its age; its being the newest is another reason.

    Args:
        job: A settled one.
        pipeline: Its pipeline.
        heads: Of all branches.
        under_way: Ids of the sets in which a job is not settled.
    """
    if job.id in under_way or (pipeline is not None and pipeline.set_id == job.id):
        return True
    if job.output and heads.get((job.pipeline, job.spec.output_branch)) == job.output:
        return True
    return any(
        (each.commit or job.id) == heads.get((each.repo, each.branch)) for each in job.inputs
    )


def spare_jobs(
    settled: Iterable[records.Job],
    pipeline: records.Pipeline | None,
    heads: Heads,
    under_way: Collection[str],
    keep: int,
) -> list[records.Job]:
    """Return which of one pipeline's settled jobs may go.

    Args:
        settled: All of them.
        pipeline: Their pipeline.
        heads: Of all branches.
        under_way: Ids of the sets in which a job is not settled.
        keep: How many of the newest stay.
    """
    found = sorted(settled, key=lambda each: each.order)
    last = newest(found)
    return [
        each
        for each in found[: -keep or None]
        if each.id not in last and not needed(each, pipeline, heads, under_way)
    ]


def newest(jobs: Iterable[records.Job]) -> frozenset[str]:
    """Return the ids of a pipeline's newest job, and of the newest that is no rerun."""
    found = sorted(jobs, key=lambda each: each.order)
    own = [each for each in found if not each.rerun_of]
    return frozenset(each.id for each in (*found[-1:], *own[-1:]))


def spare_commits(
    commits: Mapping[str, records.Commit],
    heads: Iterable[str],
    read: Collection[str],
    *,
    keep: int,
    before_ns: int,
) -> list[records.Commit]:
    """Return which commits of a repo may go.

    Args:
        commits: All of the repo, by id.
        heads: Of its branches.
        read: Ids of commits that jobs read which are not settled.
        keep: How many of each branch stay; 0 for all.
        before_ns: Only older ones go.
    """
    kept: set[str] = set()
    for head in heads:
        kept.update(_newest(commits, head, keep or len(commits)))
    return [
        each
        for each in commits.values()
        if each.id not in kept and each.id not in read and each.created_ns < before_ns
    ]


def _newest(commits: Mapping[str, records.Commit], head: str, most: int) -> Sequence[str]:
    found: list[str] = []
    while len(found) < most and (commit := commits.get(head)) is not None:
        found.append(head)
        head = commit.parent
    return found
