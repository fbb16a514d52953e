"""What the outcome stream holds is read with suspicion."""

import msgspec
import pytest
from tests.support import wards

from trunkline.contracts import messages, subjects
from trunkline.contracts.messages import Figures, File, Outcome
from trunkline.contracts.states import DatumState
from trunkline.coordinator.core import outcomes

JOB = "0" * 31 + "1"
WARD = wards.ward("edges")
PLACE = outcomes.Place(pipeline="edges", job=JOB, index=7, generation=1)
GOOD = Outcome(
    pipeline="edges",
    job=JOB,
    index=7,
    generation=1,
    datum="d" * 32,
    fingerprint="f" * 32,
    state=DatumState.PROCESSED,
    worker="w1",
    incarnation="i1",
    files=(),
)
FILE = File(path="/a", size=1, sha256="a" * 64)
OTHERS = (DatumState.RECOVERED, DatumState.FAILED, DatumState.QUARANTINED)


def test_the_place_of_an_outcome_is_its_subject() -> None:
    assert outcomes.place(subjects.outcome(WARD, JOB, 7, 1)) == PLACE


@pytest.mark.parametrize(
    "subject",
    [
        f"trunkline.outcomes.{WARD}.nojob.7.1",
        f"trunkline.outcomes.{WARD}.{JOB}.seven.1",
        f"trunkline.outcomes.{WARD}.{JOB}.07.1",
        f"trunkline.outcomes.{WARD}.{JOB}.-7.1",
        f"trunkline.outcomes.{WARD}.{JOB}.{10**19}.1",
        f"trunkline.outcomes.{WARD}.{JOB}.7",
    ],
)
def test_a_subject_that_no_outcome_has_is_no_place(subject: str) -> None:
    assert outcomes.place(subject) is None


def test_an_outcome_is_what_the_worker_said() -> None:
    assert outcomes.read(PLACE, messages.encode(GOOD)) == GOOD


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"{}",
        messages.encode(msgspec.structs.replace(GOOD, index=8)),
        messages.encode(msgspec.structs.replace(GOOD, pipeline="others")),
        messages.encode(msgspec.structs.replace(GOOD, state=DatumState.SKIPPED)),
        messages.encode(msgspec.structs.replace(GOOD, fingerprint="short")),
        *(
            messages.encode(msgspec.structs.replace(GOOD, state=state, **output))
            for state in OTHERS
            for output in ({"files": (FILE,)}, {"manifest": "m"}, {"output_files": 1})
        ),
    ],
)
def test_a_record_that_cannot_be_right_is_a_failed_datum(data: bytes) -> None:
    """It holds its subject for ever: waiting for a better one would be waiting for ever."""
    outcome = outcomes.read(PLACE, data)
    assert outcome.state is DatumState.FAILED
    assert (outcome.job, outcome.index) == (JOB, 7)
    assert outcome.reason.startswith("the worker's outcome cannot be used")
    assert not outcomes.has_output(outcomes.keep(outcome, data))


@pytest.mark.parametrize("number", [b"9" * 400, b"-1", b"1e300", b"9007199254740994"])
@pytest.mark.parametrize("name", Figures.__struct_fields__)
def test_an_outcome_with_a_figure_that_nobody_can_have_is_a_failed_datum(
    name: str, number: bytes
) -> None:
    """One of 400 digits would fail each sum that it comes into, a negative one would have a counter fall."""
    field = b'"figures":{"%b":%b}' % (name.encode(), number)
    data = messages.encode(GOOD)[:-1] + b"," + field + b"}"
    outcome = outcomes.read(PLACE, data)
    assert outcome.state is DatumState.FAILED
    assert outcome.figures == Figures()
    assert outcomes.whole(outcomes.keep(outcome, data)) == outcome


@pytest.mark.parametrize(
    ("state", "output"),
    [
        (DatumState.PROCESSED, {"files": (FILE,)}),
        (DatumState.PROCESSED, {"manifest": "m", "files": None}),
        *((state, {}) for state in (DatumState.PROCESSED, *OTHERS)),
    ],
)
def test_a_kept_outcome_tells_without_being_decoded_what_most_ask(
    state: DatumState, output: dict[str, object]
) -> None:
    outcome = msgspec.structs.replace(GOOD, state=state, **output)
    data = messages.encode(outcome)
    kept = outcomes.keep(outcomes.read(PLACE, data), data)
    assert outcomes.state(kept) is state
    assert outcomes.has_output(kept) == bool(output)
    assert outcomes.fingerprint(kept).hex() == GOOD.fingerprint
    assert outcomes.whole(kept) == outcome


def test_a_record_that_cannot_be_right_is_kept_as_what_it_was_read_as() -> None:
    failed = outcomes.read(PLACE, b"not json")
    kept = outcomes.keep(failed, b"not json")
    assert outcomes.whole(kept) == failed
    assert outcomes.state(kept) is DatumState.FAILED
    assert not outcomes.has_output(kept)
