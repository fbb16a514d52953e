"""What `top` shows, how fast jobs go, and when they will have ended."""

import io
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text
from tests.unit.cli import test_explanations as build

from trunkline.cli import bars, board_tables, board_view, files, progress
from trunkline.cli.core import board as boards
from trunkline.cli.core import fitting
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


def going(job: records.Job) -> tuple[float, float | None]:
    return boards.going(paces.Pace(), msgspec.structs.replace(job, started_ns=90 * 10**9), 100.0)


def test_a_job_goes_at_the_pace_of_what_it_works_on_whether_that_fails_or_not() -> None:
    """Two are skipped, which took no time; those that failed did."""
    counts = records.Counts(processed=15, skipped=2, failed=4, quarantined=1)
    assert going(build.job(counts=counts, total=42)) == (2.0, 10.0)


@pytest.mark.parametrize(
    "job",
    [
        build.job(JobState.LISTING, total=None),
        build.job(JobState.MERGING, counts=records.Counts(processed=10)),
        build.job(JobState.SUCCESS, counts=records.Counts(processed=10)),
        build.job(counts=records.Counts(skipped=5)),
    ],
)
def test_nobody_promises_an_end_that_cannot_be_told(job: records.Job) -> None:
    """It is still listed, waits for older jobs to commit, has ended, or has done nothing yet but skip."""
    assert going(job)[1] is None


def on_a_terminal(columns: int, *seen: Sequence[records.Job]) -> list[str]:
    """Return the last lines that show jobs, for a terminal this wide."""
    console = Console(width=columns, file=io.StringIO(), force_terminal=True, no_color=True)
    with progress.bars(console) as shown:
        for jobs in seen:
            shown.show(jobs)
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", console.file.getvalue()).split("\n")


@pytest.mark.parametrize("columns", [30, 60, 80, 120])
def test_bars_of_jobs_fit_a_narrow_terminal_and_cut_no_number(columns: int) -> None:
    counts = records.Counts(processed=123_456, skipped=1_000_000, failed=7)
    job = build.job(pipeline=LONG, total=1_234_567, counts=counts)
    lines = on_a_terminal(columns, [job])
    assert all(len(line.rstrip("\r")) <= columns for line in lines)
    assert any("1,123,463 / 1,234,567" in line for line in lines)


def test_a_bar_is_full_at_the_end_though_datums_have_failed() -> None:
    counts = records.Counts(processed=7, failed=3)
    ended = build.job(JobState.FAILURE, counts=counts, ended_ns=build.NOW)
    [row] = [line for line in on_a_terminal(100, [ended]) if "FAILURE" in line][-1:]
    assert "━" * 20 in row
    assert "─" not in row
    assert row.split()[-7:] == ["10", "/", "10", "3", "-", "-", "42s"]


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
    shown = a_board(views=[view], failures=failures)
    assert printed(shown, 200, away=forged).count(r"no room\n0.1s  all is well") == 3


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
        "paces": lambda _: (0.5, 10.0),
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


def printed(board: boards.Board, columns: int = 100, rows: int = 60, **more: Any) -> str:
    console = Console(width=columns, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(board_view.screen(board, columns=columns, rows=rows, **more))
    return captured.get()


def test_a_board_is_plain_when_piped_and_says_when_it_is_an_old_one() -> None:
    text = printed(a_board(), away="nobody answers for 4.0s")
    lines = text.splitlines()
    assert lines[0].split("   ") == ["trunkline top", "1 job", "1 of 2 workers are busy", "words"]
    assert lines[1] == "nobody answers for 4.0s"
    row = next(line for line in lines if line.startswith(f"words@{build.ID[:12]}"))
    assert row.split()[-7:] == ["5", "/", "10", "1", "30/min", "10s", "42s"]
    assert any(line.split()[-2:] == ["constant", "1"] for line in lines)
    assert all(len(line) <= 100 for line in lines)
    assert "\x1b" not in text


def test_more_workers_than_there_is_room_for_are_counted() -> None:
    many = tuple(build.at_work(f"w{each}", build.ID, each) for each in range(50))
    view = api.PipelineView(pipeline=build.pipeline(), scaling=build.scaling(workers=many))
    lines = printed(a_board(views=[view]), rows=24).splitlines()
    assert len(lines) == 24
    shown = sum(re.match(r"w\d", line) is not None for line in lines)
    assert f"{50 - shown} more: {50 - shown} busy" in lines


LONG = "pages-of-all-the-books-in-the-library"


def a_full_board(count: int) -> boards.Board:
    """Return a board of so many pipelines: each third one is at work on a job, the others wait and idle."""
    views, jobs, failures = [], [], []
    for number in range(count):
        name, identifier = f"{LONG}-{number:02}", f"{number:04}" * 8
        busy = number % 3 == 0
        worker = build.at_work(f"{LONG}-{number:02}-0", identifier, 123_456)
        seen = build.scaling(
            busy=int(busy), pending=busy * 54_321, workers=(worker,) if busy else ()
        )
        pipeline = msgspec.structs.replace(build.pipeline(), name=name)
        scaling = msgspec.structs.replace(seen, pipeline=name)
        views.append(api.PipelineView(pipeline=pipeline, scaling=scaling))
        state = JobState.RUNNING if busy else JobState.WAITING
        jobs.append(build.job(state, pipeline=name, id=identifier, total=1_234_567))
        failures.append(event("reaped", f"worker {number} was lost", pipeline=name))
    return a_board(views=views, jobs=jobs, failures=failures)


@pytest.mark.parametrize("count", [1, 5, 40])
@pytest.mark.parametrize(("columns", "rows"), [(60, 15), (80, 24), (120, 40), (200, 60), (40, 12)])
def test_a_board_fits_its_screen_and_cuts_no_number(count: int, columns: int, rows: int) -> None:
    lines = printed(a_full_board(count), columns, rows).splitlines()
    assert len(lines) <= rows
    assert all(len(line) <= columns for line in lines)
    assert "  0 / 1,234,567  " in "".join(lines)
    assert "  1 / 1  " in "".join(lines)
    whole = {"123456", *(f"{each}" for each in range(80))}
    whole |= {f"{54_321 * each:,}" for each in range(15)}
    for line in lines[1:]:
        assert set(re.findall(r"(?<=  )[\d,]{2,}(?=  )", line)) <= whole, line
    told = [line for line in lines if line.lstrip().startswith("5.0s  ")]
    assert len(told) >= min(count, 3)


@pytest.mark.parametrize(("columns", "bar"), [(200, 24), (88, 24), (80, 16), (72, 8), (71, 0)])
def test_the_bar_gives_way_before_any_name(columns: int, bar: int) -> None:
    lines = printed(a_board(), columns, 24).splitlines()
    row = next(line for line in lines if line.startswith(f"words@{build.ID[:12]}  RUNNING"))
    assert row.count("━") + row.count("─") == bar
    assert row.endswith("  5 / 10       1  30/min   10s  42s")


def test_pipelines_that_work_come_first_and_the_others_are_summed_up() -> None:
    board = a_full_board(40)
    assert [each.idle for each in board.scalers] == [False] * 14 + [True] * 26
    lines = printed(board, 80, 24).splitlines()
    [rest] = [line for line in lines if " more " in line and " / " in line]
    shown = sum(" 1 / 1 " in line for line in lines)
    assert rest.split()[:5] == [str(40 - shown), "more", str(40 - shown), "/", str(40 - shown)]
    lines = printed(board, 200, 90).splitlines()
    assert any("more idle" in line for line in lines)


def test_what_cannot_work_comes_first_and_is_counted_among_the_rest() -> None:
    board = a_full_board(3)
    sick = msgspec.structs.replace(board.scalers[2], problem="no room")
    assert not sick.idle
    assert boards.summed([sick, *board.scalers]).problem == "1 of them cannot work"
    scaling = build.scaling(problem="no room")
    worse = msgspec.structs.replace(build.pipeline(), name="zzz")
    views = [
        api.PipelineView(pipeline=build.pipeline(), scaling=build.scaling(busy=1)),
        api.PipelineView(pipeline=worse, scaling=msgspec.structs.replace(scaling, pipeline="zzz")),
    ]
    assert [each.pipeline for each in a_board(views=views).scalers] == ["zzz", "words"]


def test_a_bar_is_full_only_once_all_is_done() -> None:
    assert board_tables.Bar(999, 1000, "").drawn(10).plain == "━" * 9 + "─"
    assert board_tables.Bar(7, 7, "").drawn(10).plain == "━" * 10
    assert board_tables.Bar(7, None, "").drawn(10).plain == "─" * 10


def test_a_name_keeps_its_ends_and_a_sentence_its_beginning() -> None:
    name = board_tables.Column("", board_tables.Kind.NAME, [Text("thumbnails-ceac10f2-0")])
    why = board_tables.Column("", board_tables.Kind.SENTENCE, [Text("4 nodes x 1 = 4 workers")])
    part = board_tables.Part("t", "none", (name, why), ((0, 14), (1, 10)))
    *_, row = board_tables.drawn(part, 26, ruled=True)
    assert str(row) == "thumbn…c10f2-0  4 nodes x…"


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 20)), max_size=8),
    st.integers(1, 200),
)
def test_columns_fit_and_what_does_not_give_way_is_whole_or_left_out(
    natural: list[int], steps: list[tuple[int, int]], room: int
) -> None:
    steps = [(column % len(natural), least) for column, least in steps]
    found = fitting.widths(natural, steps, room)
    shown = [each for each in found if each]
    assert sum(shown) + fitting.GAP * (len(shown) - 1) <= room
    giving = {column for column, _ in steps}
    for column, width in enumerate(found):
        assert width <= natural[column]
        assert column in giving or width in (0, natural[column])
    if sum(natural) + fitting.GAP * (len(natural) - 1) <= room:
        assert found == natural


PARTS = ("jobs", "scalers", "failures", "workers")


@given(st.tuples(*[st.integers(0, 50)] * len(PARTS)), st.integers(0, 80), st.integers(1, 2))
def test_lines_are_dealt_out_to_the_last_and_failures_keep_three(
    found: tuple[int, ...], room: int, heading: int
) -> None:
    counts = dict(zip(PARTS, found, strict=True))
    given_ = fitting.lines(counts, room, heading=heading)
    taken = sum(heading + given_[each] if counts[each] else 1 for each in given_)
    assert taken <= room or not given_
    assert all(given_[each] <= counts[each] for each in given_)
    if all(given_.get(each) == counts[each] for each in counts):
        return
    if len(given_) == len(counts):
        assert taken == room
        assert given_["failures"] >= min(3, counts["failures"])
    assert list(given_) == list(counts)[: len(given_)]


@pytest.mark.parametrize("columns", [30, 60, 100])
def test_the_bar_of_a_put_fits_and_has_bytes_and_files(columns: int) -> None:
    row = bars.Put("photos@master:/a/long/way/down", 12, 3400, 5 << 20, 20 << 20, 31.0, 9.5)
    lines = [str(each) for each in board_tables.drawn(bars.put_part(row), columns, ruled=False)]
    assert all(len(line) <= columns for line in lines)
    assert "12 / 3,400" in lines[1]
    assert "31s" in lines[1]
    assert ("5.0 MiB / 20.0 MiB" in lines[1]) == (columns > 30)


def test_the_end_of_a_put_is_told_by_bytes_and_files_together() -> None:
    """One large file after a hundred small ones takes most of the time, and small ones are not free."""
    small, large = files.work(100, 100 * 1000), files.work(1, 1 << 30)
    assert small < large / 100
    assert files.work(1000, 0) > files.work(1, 1 << 20)
