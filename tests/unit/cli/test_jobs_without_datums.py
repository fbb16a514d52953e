"""What is said of a job that had nothing to do: it succeeds, and only its reason tells that a glob is wrong."""

import pytest
from tests.unit.cli import test_explanations as build

from trunkline.cli import progress
from trunkline.cli.core import jobs, pipelines
from trunkline.contracts import records
from trunkline.contracts.states import JobState, PipelineState

WHY = "no datums: none of the 12 files of texts@master matches the glob '/*.csv'"
TEXTS = records.JobInput(name="texts", repo="texts", branch="master", commit="c1")


def job(*inputs: records.JobInput, **fields) -> records.Job:
    given = {"total": 0, "inputs": inputs or (TEXTS,), "reason": WHY, **fields}
    return build.job(JobState.SUCCESS, **given)


def test_explain_names_the_glob_and_what_shows_the_files():
    [reason] = jobs.explain(jobs.Facts(job=job(), now_ns=build.NOW)).reasons
    assert reason.kind == "no-datums"
    assert WHY in reason.why
    assert reason.remedy == "compare the glob with `trunkline ls texts@master:/**`"


def test_explain_leads_on_to_the_job_above_that_made_an_empty_output():
    made = records.JobInput(name="w", repo="words", branch="master", commit="c1", upstream=True)
    [reason] = jobs.explain(jobs.Facts(job=job(made), now_ns=build.NOW)).reasons
    assert f"`trunkline explain words@{build.ID[:12]}`" in reason.remedy


def test_a_job_that_has_done_something_went_well():
    [reason] = jobs.explain(jobs.Facts(job=job(total=3, reason=""), now_ns=build.NOW)).reasons
    assert reason.kind == "done"


@pytest.mark.parametrize(("total", "told"), [(0, True), (3, False)])
def test_explain_of_the_pipeline_tells_it_of_the_newest_job(total: int, told: bool):
    newest = jobs.Facts(job=job(total=total), now_ns=build.NOW)
    pipeline = records.Pipeline(name="words", state=PipelineState.RUNNING, version=1)
    facts = pipelines.Facts(pipeline=pipeline, now_ns=build.NOW, job=newest)
    assert any(WHY in each.why for each in pipelines.explain(facts).reasons) is told


def test_wait_says_it_in_its_line():
    assert progress.summary(job()).endswith(f"; {WHY}")
