"""Whether a spec is taken."""

import dataclasses
from typing import Any

import msgspec
import pytest

from trunkline.contracts import records, spec
from trunkline.contracts.states import PipelineState
from trunkline.coordinator.core import pipelines
from trunkline.coordinator.core.pipelines import Accepted, Fresh, Installed, Refused, Unchanged

FRESH = Fresh(set_id="5" * 32, salt="f" * 32, now_ns=7)


def a_spec(name: str, reads: str = "in", *, image: str = "", user: str = "") -> spec.PipelineSpec:
    return spec.PipelineSpec(
        name=name,
        transform=spec.Transform(cmd=("true",), image=image, user=user),
        input=spec.Input(pfs=spec.PfsInput(repo=reads, name=reads, glob="/*")),
    )


def installed(
    *pipelines_there: spec.PipelineSpec, repos: tuple[str, ...] = ("in",), local: bool = True
) -> Installed:
    found = {
        each.name: records.Pipeline(
            name=each.name, state=PipelineState.RUNNING, version=1, spec=each, salt="s" * 32
        )
        for each in pipelines_there
    }
    owned = {name: records.Repo(name=name, created_ns=0, pipeline=True) for name in found}
    users = {name: records.Repo(name=name, created_ns=0) for name in repos}
    return Installed(pipelines=found, repos={**owned, **users}, heads={}, local=local)


def problems(decision: object) -> dict[str, str]:
    assert isinstance(decision, Refused)
    return dict(decision.problems)


def test_a_first_spec_becomes_version_1_with_a_salt_that_stays():
    decision = pipelines.accept(a_spec("words"), installed(), FRESH)
    assert isinstance(decision, Accepted)
    assert (decision.record.version, decision.record.salt) == (1, "f" * 32)
    assert decision.record.state is PipelineState.RUNNING
    there = installed(a_spec("words"))
    changed = pipelines.accept(
        msgspec.structs.replace(a_spec("words"), datum_tries=5), there, FRESH
    )
    assert isinstance(changed, Accepted)
    assert (changed.record.version, changed.record.salt) == (2, "s" * 32)


def test_a_version_has_a_set_of_its_own_only_if_all_its_inputs_are_there():
    decision = pipelines.accept(a_spec("words"), installed(), FRESH)
    assert isinstance(decision, Accepted)
    assert decision.record.set_id == ""
    full = Installed(
        pipelines={}, repos=installed().repos, heads={("in", "master"): "a" * 32}, local=True
    )
    decision = pipelines.accept(a_spec("words"), full, FRESH)
    assert isinstance(decision, Accepted)
    assert decision.record.set_id == FRESH.set_id


def test_the_same_spec_again_is_no_new_version():
    decision = pipelines.accept(a_spec("words"), installed(a_spec("words")), FRESH)
    assert isinstance(decision, Unchanged)
    assert decision.record.version == 1


def test_a_new_salt_makes_a_version_of_the_same_spec_once_and_stays():
    words = a_spec("words")
    heads = {("in", "master"): "a" * 32}
    there = dataclasses.replace(installed(words), heads=heads)
    anew = dataclasses.replace(FRESH, reprocess="r" * 32)
    decision = pipelines.accept(words, there, anew)
    assert isinstance(decision, Accepted)
    made = decision.record
    assert (made.version, made.salt, made.set_id) == (2, "r" * 32, FRESH.set_id)
    after = dataclasses.replace(there, pipelines={"words": made})
    assert isinstance(pipelines.accept(words, after, anew), Unchanged)  # its answer was lost
    assert isinstance(pipelines.accept(words, after, FRESH), Unchanged)
    faster = msgspec.structs.replace(words, parallelism_spec=spec.Parallelism(constant=3))
    kept = pipelines.accept(faster, after, FRESH)
    assert isinstance(kept, Accepted)
    assert kept.record.salt == "r" * 32
    salted = msgspec.structs.replace(words, salt="own")
    assert "change it" in problems(pipelines.accept(salted, there, anew))["$.salt"]


def test_an_input_repo_that_does_not_exist_is_refused_with_the_remedy():
    found = problems(pipelines.accept(a_spec("words", "nowhere"), installed(), FRESH))
    assert "'nowhere' does not exist; create it" in found["$.input.pfs.repo"]


def test_a_pipelines_output_is_an_input_repo_like_any_other():
    there = installed(a_spec("words"))
    assert isinstance(pipelines.accept(a_spec("totals", "words"), there, FRESH), Accepted)


def test_the_output_of_a_pipeline_that_only_was_refused_does_not_exist():
    refused = pipelines.refuse("words", None, (("$", "no"),), FRESH)
    there = Installed(pipelines={"words": refused}, repos={}, heads={}, local=True)
    assert isinstance(pipelines.accept(a_spec("totals", "words"), there, FRESH), Refused)


def test_a_cycle_is_refused_and_named():
    there = installed(a_spec("words"), a_spec("totals", "words"))
    found = problems(pipelines.accept(a_spec("words", "totals"), there, FRESH))
    assert "words -> totals -> words" in found["$.input"]
    found = problems(pipelines.accept(a_spec("own", "own"), there, FRESH))
    assert "own -> own" in found["$.input"]


def test_a_name_that_a_users_repo_has_is_refused():
    found = problems(pipelines.accept(a_spec("in", "other"), installed(), FRESH))
    assert "name of a repo" in found["$.pipeline.name"]
    assert "'other' does not exist" in found["$.input.pfs.repo"], "all problems at once"


def test_an_output_repo_that_a_deleted_pipeline_left_is_taken_over():
    left = {"words": records.Repo(name="words", created_ns=0, pipeline=True), **installed().repos}
    there = Installed(pipelines={}, repos=left, heads={}, local=True)
    assert isinstance(pipelines.accept(a_spec("words"), there, FRESH), Accepted)


def test_what_is_being_deleted_is_neither_applied_nor_read():
    words = installed(a_spec("words")).pipelines["words"]
    going = msgspec.structs.replace(words, state=PipelineState.DELETING)
    there = Installed(pipelines={"words": going}, repos=installed().repos, heads={}, local=True)
    assert "$.pipeline.name" in problems(pipelines.accept(a_spec("words"), there, FRESH))
    assert "$.input.pfs.repo" in problems(pipelines.accept(a_spec("t", "words"), there, FRESH))


def test_a_refusal_leaves_the_working_spec_alone_and_the_next_good_one_clears_it():
    there = installed(a_spec("words"))
    refused = pipelines.refuse("words", there.pipelines["words"], (("$.x", "bad"),), FRESH)
    assert (refused.state, refused.version) == (PipelineState.RUNNING, 1)
    assert refused.refusal is not None
    with_refusal = Installed(pipelines={"words": refused}, repos=there.repos, heads={}, local=True)
    decision = pipelines.accept(a_spec("words"), with_refusal, FRESH)
    assert isinstance(decision, Unchanged)
    assert decision.record.refusal is None


def test_a_pipeline_that_never_was_shows_as_refused_and_becomes_version_1_later():
    refused = pipelines.refuse("words", None, (("$.x", "bad"),), FRESH)
    assert refused.state is PipelineState.REFUSED
    there = Installed(pipelines={"words": refused}, repos=installed().repos, heads={}, local=True)
    decision = pipelines.accept(a_spec("words"), there, FRESH)
    assert isinstance(decision, Accepted)
    assert decision.record.state is PipelineState.RUNNING
    assert (decision.record.version, decision.record.refusal) == (1, None)


def test_what_has_no_effect_on_a_bare_host_is_kept_to_be_shown():
    decision = pipelines.accept(a_spec("w", image="alpine", user="nobody"), installed(), FRESH)
    assert isinstance(decision, Accepted)
    assert decision.record.ignored == ("transform.image", "transform.user")
    elsewhere = installed(local=False)
    decision = pipelines.accept(a_spec("w", image="alpine"), elsewhere, FRESH)
    assert isinstance(decision, Accepted)
    assert decision.record.ignored == ()


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"pipeline": {"name": "words"}}, "words"),
        ({"name": "words"}, "words"),
        ({"pipeline": {"name": "no dots.please"}}, None),
        ({"pipeline": {"name": 7}}, None),
        ({"pipeline": {"name": pipelines.UNNAMED}}, None),
        (["words"], None),
        (None, None),
    ],
)
def test_the_name_in_a_refused_document_is_used_only_if_it_is_one(
    document: object, name: str | None
):
    assert pipelines.name_in(document) == name


def test_nobody_may_have_the_name_under_which_nameless_specs_are_told():
    found = problems(pipelines.accept(a_spec(pipelines.UNNAMED), installed(), FRESH))
    assert "reserved" in found["$.pipeline.name"]


def test_problems_of_a_hostile_spec_stay_small():
    many = tuple((f"$.{'x' * 1000}", "y" * 10_000) for _ in range(10_000))
    kept = pipelines.bounded(many)
    assert len(kept) == pipelines.PROBLEMS_MAX + 1
    assert "9900 more" in kept[-1][1]
    assert len(msgspec.json.encode(kept)) < 100_000


def changed(wanted: spec.PipelineSpec, *, now: bool = False) -> records.Pipeline:
    """Return the record once version 1, which had run on what is there, was changed."""
    there = installed(a_spec("words"))
    ran = msgspec.structs.replace(there.pipelines["words"], set_id="1" * 32, since=1)
    heads = {("in", "master"): "a" * 32}
    there = dataclasses.replace(there, pipelines={"words": ran}, heads=heads)
    decision = pipelines.accept(wanted, there, FRESH, now=now)
    assert isinstance(decision, Accepted | Unchanged)
    return decision.record


@pytest.mark.parametrize(
    "fields",
    [
        {"parallelism_spec": spec.Parallelism(constant=7)},
        {"standby": True},
        {"description": "for people"},
        {"metadata": spec.Metadata(labels={"team": "a"})},
        {"tolerations": (spec.Toleration(key="spot"),)},
        {"scheduling_spec": spec.Scheduling(priority_class_name="low")},
    ],
)
def test_a_version_that_changes_only_what_is_around_the_work_sets_off_no_job(fields: Any):
    after = changed(msgspec.structs.replace(a_spec("words"), **fields))
    assert (after.version, after.since, after.set_id) == (2, 1, "1" * 32)


@pytest.mark.parametrize(
    "fields",
    [
        {"datum_tries": 9},
        {"resource_limits": spec.Resources(memory_bytes=1)},
        {"output_branch": "other"},
        {"transform": spec.Transform(cmd=("false",))},
    ],
)
def test_every_other_change_has_a_set_of_its_own(fields: Any):
    after = changed(msgspec.structs.replace(a_spec("words"), **fields))
    assert (after.version, after.since, after.set_id) == (2, 2, FRESH.set_id)


def test_applied_now_older_versions_are_over_also_where_the_spec_is_the_same():
    other = msgspec.structs.replace(a_spec("words"), datum_tries=9)
    assert changed(other).oldest == 0
    assert changed(other, now=True).oldest == 2
    assert changed(a_spec("words"), now=True).oldest == 1


def test_applied_now_jobs_whose_work_is_the_same_go_on_since_nothing_takes_their_place():
    scaled = changed(
        msgspec.structs.replace(a_spec("words"), parallelism_spec=spec.Parallelism(constant=7)),
        now=True,
    )
    assert (scaled.version, scaled.since, scaled.oldest) == (2, 1, 1)
    there = dataclasses.replace(installed(), pipelines={"words": scaled})
    assert scaled.spec is not None
    again = pipelines.accept(scaled.spec, there, FRESH, now=True)
    assert isinstance(again, Unchanged)
    assert again.record.oldest == 1
