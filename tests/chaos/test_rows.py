"""A series of seeds outlives whoever runs it."""

from pathlib import Path

import msgspec
import pytest
from tests.chaos import table
from tests.chaos.rows import Ran, Rows, Setup, put_aside

from trunkline.audit.core import findings
from trunkline.audit.core.findings import Report

SETUP = Setup(datums=100)


def report(*, lost: int = 0) -> Report:
    """Return what `verify` says of a job of which so many datums were lost."""
    examples = [f"datum {index} has no outcome" for index in range(lost)]
    return Report(
        pipeline="slow",
        job="a" * 32,
        state="SUCCESS",
        datums=100,
        outcomes=100 - lost,
        lost=lost,
        twice=0,
        retried=7,
        files=100,
        bytes=600,
        findings=(findings.judged("none lost", f"{lost} datums have no outcome", examples),),
    )


def ran(seed: int, *, setup: Setup = SETUP, lost: int = 0, wall_s: float = 12.0) -> Ran:
    return Ran(
        setup=setup,
        seed=seed,
        state="SUCCESS",
        wall_s=wall_s,
        undisturbed_s=10.0,
        faults={"kill worker": 3, "kill nats-server": 1, "pause worker": 2},
        refused=4,
        report=report(lost=lost),
        differing=0,
    )


def test_what_has_ended_is_there_after_the_kill_of_who_wrote_it(tmp_path: Path) -> None:
    file = tmp_path / "deeper" / "rows.jsonl"
    written = Rows(file, SETUP)
    assert written.ran == []
    for row in (ran(3), ran(1)):
        written.add(row)
    found = Rows(file, SETUP)
    assert found.ran == [ran(1), ran(3)]
    assert found.missing(range(1, 6)) == [2, 4, 5]


def test_a_row_that_was_torn_is_run_again_and_takes_no_other_along(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = Rows(file, SETUP)
    rows.add(ran(1))
    rows.add(ran(2))
    file.write_bytes(file.read_bytes()[:-20])
    assert rows.missing((1, 2)) == [2]
    rows.add(ran(2))
    assert rows.ran == [ran(1), ran(2)]


def test_series_of_several_setups_share_a_file(tmp_path: Path) -> None:
    other = Setup(datums=100, servers=3, standbys=True, failing_store=True)
    mine, others = (Rows(tmp_path / "rows.jsonl", setup) for setup in (SETUP, other))
    mine.add(ran(1))
    others.add(ran(2, setup=other))
    assert [each.seed for each in mine.ran] == [1]
    assert [each.seed for each in others.ran] == [2]


def test_of_a_seed_that_was_tried_again_the_newest_row_counts(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.jsonl", SETUP)
    rows.add(ran(1, lost=1))
    rows.add(ran(1))
    assert rows.ran == [ran(1)]


@pytest.mark.parametrize(
    ("row", "holds"),
    [
        (ran(1), True),
        (ran(1, lost=1), False),
        (Ran(setup=SETUP, seed=1, state="FAILURE", wall_s=1.0, report=report()), False),
        (Ran(setup=SETUP, seed=1, state="BROKE OFF", wall_s=0.0), False),
    ],
)
def test_a_job_holds_that_succeeded_and_that_verify_finds_whole(row: Ran, *, holds: bool) -> None:
    assert row.holds is holds


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"setup": Setup(datums=101)}, "100 datums, not 101"),
        ({"differing": 1}, "its output is wrong at 1 paths"),
        ({"differing": None}, "its output was not looked at"),
        ({"faults": {"kill nats-server": 1}}, "kill worker: nobody was hit"),
        ({"wall_s": 60.0}, "kill scaler: nobody was hit"),
    ],
)
def test_a_row_does_not_hold_without_evidence(changed: dict[str, object], why: str) -> None:
    row = msgspec.structs.replace(ran(1), **changed)
    assert not row.holds
    assert why in list(table.beside(row))


def test_nobody_need_be_hit_who_was_not_due_twice_or_where_nothing_breaks() -> None:
    assert msgspec.structs.replace(ran(1), faults={}, wall_s=0.5).holds
    calm = Setup(what="", datums=100)
    assert msgspec.structs.replace(ran(1, setup=calm), faults={}, wall_s=600.0).holds


def test_rows_that_are_put_aside_take_the_place_of_no_others(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    for text in ("one", "two"):
        file.write_text(text)
        put_aside(file)
        put_aside(file)
    kept = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert kept == {"rows.jsonl.before-1": "one", "rows.jsonl.before-2": "two"}


def test_a_row_has_kills_by_victim_and_the_time_over_that_of_its_own_undisturbed_run() -> None:
    told = ["1", "SUCCESS", "3", "0", "0", "1", "7", "4", "0", "0", "12.0", "10.0", "1.20"]
    assert table.row(ran(1)).split() == told
    assert list(table.beside(ran(1))) == ["beside it: 2 pause worker"]


def test_all_that_is_wrong_is_named() -> None:
    lost = ran(2, lost=2, wall_s=30.0)
    assert "datum 1 has no outcome" in list(table.beside(lost))
    never = Ran(setup=SETUP, seed=3, state="BROKE OFF", wall_s=0.0, reasons=("why",))
    assert list(table.beside(never)) == ["why"]
    assert "?" in table.row(never)
    told = table.summary([ran(1), ran(4, wall_s=30.0), lost, never])
    assert told.startswith("4 jobs, 2 failed; 18 faults, 21 redelivered, 12 second results refused")
    assert told.endswith("2 lost, 0 twice; wall over undisturbed: median 3.00, most 3.00")
