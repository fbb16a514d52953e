"""The commit of a job's output, and who reads it."""

import random
from pathlib import Path

from tests.support.keeping import Kept, P


async def test_an_output_is_read_as_soon_as_it_is_committed_though_watches_are_silent(
    tmp_path: Path,
) -> None:
    """1. a job's branch is moved, and the server that tells of it is lost; 2. a user reads the branch."""
    kept = Kept(tmp_path, random.Random(1))  # nobody follows the buckets
    await kept.put("a")
    await kept.pipeline()
    (job,) = kept.catalog.jobs.unsettled(P)
    await kept.committer.commit_output(job, "manifest", 0, 0)
    assert (await kept.repos.commit(P, "master")).id == job.id
