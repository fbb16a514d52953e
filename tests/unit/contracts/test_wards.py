"""Wards: made of a key and a name, and of nothing else."""

import pytest
from tests.support.wards import DATA_KEY, WARDS

from trunkline.contracts import errors, subjects
from trunkline.contracts.wards import Ward, Wards, WeakDataKeyError

JOB = "0" * 32
EDGES = WARDS.of("edges")
ASSIGNMENT = subjects.assignments(EDGES)


def test_every_process_makes_the_same_ward_of_the_same_key() -> None:
    assert Wards(DATA_KEY).of("edges") == Wards(DATA_KEY).of("edges")
    # and any later version: what it guards is stored
    assert Wards(DATA_KEY).of("edges").token == "AxDENB3Hi8SGkuaZ"


def test_wards_differ_by_pipeline_and_by_key() -> None:
    tokens = {
        wards.of(name).token
        for wards in (WARDS, Wards(DATA_KEY + "x"))
        for name in ("edges", "Edges", "edge")
    }
    assert len(tokens) == 6


def test_a_key_that_could_be_guessed_is_refused_and_not_shown() -> None:
    with pytest.raises(WeakDataKeyError) as caught:
        Wards("hunter2")
    assert "hunter2" not in str(caught.value)
    assert "TRUNKLINE_DATA_KEY" in str(caught.value)


def test_a_subject_is_owned_under_its_own_pipelines_ward_only() -> None:
    edges, words = WARDS.of("edges"), WARDS.of("words")
    assert WARDS.owns(subjects.outcome(edges, JOB, 0, 1))
    assert WARDS.owns(subjects.assignments(edges))
    for subject in (
        subjects.assignments(Ward("words", edges.token)),
        f"trunkline.outcomes.edges.{JOB}.0.1",
        "trunkline.assignments.edges",
        f"trunkline.assignments.edges.{edges.token}x",
        f"trunkline.assignments.*.{words.token}",
        f"trunkline.assignments..{words.token}",
        "trunkline",
        "",
    ):
        assert not WARDS.owns(subject), subject


@pytest.mark.parametrize(
    ("pipeline", "token"),
    [("edges", ""), ("edges", "*"), ("edges", "a.b"), ("edges", "x" * 15), ("*", "x" * 16)],
)
def test_what_is_no_token_is_no_ward(pipeline: str, token: str) -> None:
    with pytest.raises(errors.InvalidNameError):
        Ward(pipeline, token)


@pytest.mark.parametrize(
    "error",
    [
        errors.UnavailableError(f"$JS.API.DIRECT.GET.TL_ASSIGNMENTS.{ASSIGNMENT}", "no answer"),
        errors.UnavailableError(f"{subjects.data_api(WARDS)}.STREAM.INFO.TL_OUTCOMES", "no answer"),
        errors.PermissionViolationError(ASSIGNMENT.lower()),
        errors.RefusedError(subjects.outcome(EDGES, JOB, 0, 1), 10077, "maximum messages"),
        errors.MalformedMessageError(subjects.claims(EDGES, "w1"), "no JSON"),
        errors.PermissionViolationError(subjects.worker_inboxes(EDGES)),
    ],
)
def test_what_people_read_of_an_error_names_the_place_and_not_the_secret(error: Exception) -> None:
    """Events and answers are read by users, who run code as workers, too."""
    for secret in (EDGES.token, WARDS.hidden):
        assert secret.lower() not in str(error).lower()
    assert "edges" in str(error) or "TL_OUTCOMES" in str(error)


def test_many_names_from_outside_do_not_stay_in_memory() -> None:
    wards = Wards(DATA_KEY)
    for number in range(10_000):
        wards.owns(f"trunkline.outcomes.p{number}.x")
    assert len(wards._made) <= 4096
    assert wards.of("edges") == WARDS.of("edges")
