"""What `top` shows, how fast jobs go, and when they will have ended."""

from typing import Any

import msgspec
import pytest
from rich.console import Console
from tests.unit.cli import test_explanations as build

from trunkline.cli import board_view, progress
from trunkline.cli.core import board as boards
from trunkline.cli.core import pace as paces
from trunkline.contracts import api, messages, records
from trunkline.contracts.states import JobState


def looked(*looks: tuple[float, float]) -> paces.Pace:
    pace = paces.Pace()
    for at_s, done in looks:
        pace.look(at_s, done)
    return pace


def test_a_pace_is_that_of_the_last_half_minute() -> None:
    fast_then_slow = [(float(at), at * 100.0) for at in range(10)]
    fast_then_slow += [(float(at), 900.0 + at - 9) for at in range(10, 60)]
    assert looked(*fast_then_slow).per_s() == pytest.approx(1.0)


def test_the_first_look_has_the_average_since_the_beginning() -> None:
    assert looked((100.0, 50.0)).per_s(90.0) == 5.0
    assert looked((100.0, 50.0)).per_s() == 0.0
    assert looked().per_s(90.0) == 0.0


def test_what_goes_back_begins_anew() -> None:
    """As a restarted datum makes it, or a job of the same name."""
    assert looked((0.0, 100.0), (10.0, 5.0), (15.0, 10.0)).per_s() == 1.0


def test_what_stands_still_has_no_end_that_could_be_told() -> None:
    assert paces.left_s(5, 0.0) is None
    assert paces.left_s(0, 0.0) == 0.0
    assert paces.left_s(10, 2.0) == 5.0


@pytest.mark.parametrize(
    ("per_s", "text"),
    [(0.0, "-"), (0.5, "30/min"), (3.14, "3.1/s"), (1234.0, "1,234/s"), (0.001, "3.6/h")],
)
def test_a_pace_has_the_unit_that_people_would_take(per_s: float, text: str) -> None:
    assert paces.told(per_s) == text


def test_a_bar_says_pace_and_time_to_go_until_the_job_has_ended() -> None:
    looks = paces.Pace()
    job = build.job(started_ns=90 * 10**9, counts=records.Counts(processed=20, skipped=2), total=42)
    assert progress.pace(looks, job, 100.0) == "2.0/s, 10s to go"
    assert progress.pace(looks, build.job(JobState.SUCCESS), 101.0) == ""


def event(kind: str, text: str, pipeline: str = "words", ago_s: int = 5) -> messages.Event:
    at_ns = build.NOW - ago_s * 10**9
    return messages.Event(kind=kind, pipeline=pipeline, at_ns=at_ns, source="scaler", text=text)


@pytest.mark.parametrize(
    ("kind", "text", "bad"),
    [
        ("attempt", "datum 0: exit code 3", True),
        ("reaped", "w0 was lost", True),
        ("job-changed", "job words@1 is FAILURE: 1 of 2 datums failed", True),
        ("job-changed", "job words@1 is SUCCESS", False),
        ("scaled", "1 -> 2 workers", False),
    ],
)
def test_failures_are_told_from_other_events(kind: str, text: str, *, bad: bool) -> None:
    assert boards.is_failure(event(kind, text)) is bad


@pytest.mark.parametrize(
    ("attempt", "bad"),
    [
        ({"cause": "superseded"}, False),
        ({"cause": "drained"}, False),
        ({"cause": "user-exit"}, True),
        ({"cause": ["drained"]}, True),
        ("drained", True),
    ],
)
def test_an_attempt_has_failed_by_its_cause_whatever_its_words_and_files_are_called(
    attempt: object, *, bad: bool
) -> None:
    """What a command says, and the names of its files, are in the text."""
    text = "datum 0: exit code 1, input /another worker was faster/drained"
    told = event("attempt", text)
    raw = msgspec.Raw(msgspec.json.encode(attempt))
    assert boards.is_failure(msgspec.structs.replace(told, facts={"attempt": raw})) is bad
    assert boards.is_failure(msgspec.structs.replace(told, facts={"attempt": msgspec.Raw(b"{")}))


def test_what_others_have_written_makes_no_row_of_a_board() -> None:
    """As the message of a pod, what a command says, or a file's name may hold ends of lines."""
    forged = "no room\n0.1s  all is well"
    view = api.PipelineView(pipeline=build.pipeline(), scaling=build.scaling(problem=forged))
    failures = [event("attempt", f"words: {forged}\ttoo")]
    console = Console(width=200)
    with console.capture() as captured:
        shown = a_board(views=[view], failures=failures)
        console.print(board_view.screen(shown, away=forged))
    assert captured.get().count(r"no room\n0.1s  all is well") == 3


def a_board(**fields: Any) -> boards.Board:
    busy = build.at_work("words-0", build.ID, 7, for_s=3)
    idle = records.WorkerView(name="words-1", phase="idle")
    scaling = build.scaling(cap=2, want=2, have=2, ready=2, busy=1, workers=(idle, busy))
    view = api.PipelineView(pipeline=build.pipeline(), scaling=scaling)
    counts = records.Counts(processed=4, failed=1)
    jobs = [build.job(counts=counts), build.job(JobState.SUCCESS), build.job(pipeline="other")]
    given: dict[str, Any] = {
        "views": [view],
        "jobs": jobs,
        "failures": [
            event("attempt", "datum 7: exit code 3"),
            event("attempt", "x", pipeline="other"),
        ],
        "now_ns": build.NOW,
        "pace": lambda _: (0.5, 10.0),
        **fields,
    }
    return boards.board("words", **given)


def test_a_board_has_jobs_that_run_busy_workers_first_and_failures_of_the_pipeline() -> None:
    board = a_board()
    [job] = board.jobs
    assert (job.name, job.done, job.total, job.failed) == (f"words@{build.ID[:12]}", 5, 10, 1)
    assert [each.name for each in board.workers] == ["words-0", "words-1"]
    assert (board.workers[0].at, board.workers[0].for_s) == (f"words@{build.ID[:12]} 7", 3.0)
    assert [each.text for each in board.failures] == ["words: datum 7: exit code 3"]


def test_a_board_is_plain_when_piped_and_says_when_it_is_an_old_one() -> None:
    console = Console(width=100, no_color=True, highlight=False, record=True, quiet=False)
    with console.capture() as captured:
        console.print(board_view.screen(a_board(), away="nobody answers for 4.0s"))
    lines = captured.get().splitlines()
    assert lines[0].split("   ") == [
        "trunkline top  words",
        "1 job",
        "1 of 2 workers are busy",
        "nobody answers for 4.0s",
    ]
    row = next(line for line in lines if line.startswith(f"words@{build.ID[:12]}"))
    assert row.split()[-7:] == ["5", "/", "10", "1", "30/min", "10s", "42s"]
    assert any(line.split()[-2:] == ["constant", "1"] for line in lines)
    assert all(len(line) <= 100 for line in lines)
    assert "\x1b" not in captured.get()


def test_more_workers_than_there_is_room_for_are_counted() -> None:
    many = tuple(build.at_work(f"w{each}", build.ID, each) for each in range(50))
    view = api.PipelineView(pipeline=build.pipeline(), scaling=build.scaling(workers=many))
    console = Console(width=100)
    with console.capture() as captured:
        console.print(board_view.screen(a_board(views=[view]), rows=24))
    assert " of 50)" in captured.get()
    assert len(captured.get().splitlines()) <= 24
