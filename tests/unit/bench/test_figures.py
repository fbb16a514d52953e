"""What the bench makes of its figures."""

import array

import pytest
from bench import figures, tables, targets
from bench.outcomes import Outcomes, WrongResultError

from trunkline.contracts import api, messages, records, spec
from trunkline.contracts.states import DatumState, JobState


def run(system: str, seconds: float, workload: str = "W1", **more: object) -> figures.Run:
    told = {"cpu_s": 0.1, "rss_bytes": 5_000_000, **more}
    return figures.Run(workload, system, 1000, seconds, **told)  # type: ignore[arg-type]


def view(index: int, ended_ns: int, *, process_s: float = 0.0, attempts: int = 1) -> api.DatumView:
    outcome = messages.Outcome(
        pipeline="out",
        job="j1",
        index=index,
        generation=1,
        datum="d",
        fingerprint="f",
        state=DatumState.PROCESSED,
        worker="w",
        incarnation="i",
        attempts=attempts,
        ended_ns=ended_ns,
        figures=messages.Figures(process_s=process_s),
    )
    return api.DatumView(index=index, state="PROCESSED", outcome=outcome)


def test_the_steady_pace_leaves_out_a_slow_start_and_a_slow_end() -> None:
    moments = [5.0 + number * 0.01 for number in range(99)] + [60.0]
    samples = [(moment, number + 1) for number, moment in enumerate(moments)]
    assert figures.steady_seconds(samples, 100) == pytest.approx(1.0)


def test_two_datums_have_no_steady_pace() -> None:
    assert figures.steady_seconds([(0.1, 1), (0.2, 2)], 2) == 0


def test_ratios_are_of_runs_that_alternated() -> None:
    found = figures.Found(
        [run("trunkline", 2), run("pool", 1), run("trunkline", 1), run("pool", 1)]
    )
    assert found.ratios("W1", "pool") == [0.5, 1.0]
    line = next(each for each in tables.workloads(found) if each.startswith("| pool"))
    assert "| 1,000 · 1,000 |" in line
    assert "| 0.50 · 1.00 | 0.75 [0.50..1.00] | 100 [100..100] |" in line


def test_a_split_by_kind_is_told_of_ours_only() -> None:
    ours = run("trunkline", 1, cpu_of={"agents": 0.04, "commands": 0.06}, rss_of={"agents": 7e6})
    lines = tables.by_kind(figures.Found([ours, run("pool", 1)]))
    assert [each for each in lines if each.startswith("| W1 ")] == [
        "| W1 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 40.0 | 0.00 | 60.0 |",
        "| W1 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 7.00 | 0.00 |",
    ]


def test_targets_are_judged_by_medians_of_what_was_run() -> None:
    found = figures.Found(
        [
            *(run("trunkline", 0.1, cpu_s=0.2), run("pool", 0.05), run("faststream", 0.15)),
            *(run("trunkline", 0.2, cpu_s=0.1), run("pool", 0.05), run("faststream", 0.6)),
            *(run("trunkline", 0.1, cpu_s=0.1), run("pool", 0.05), run("faststream", 0.3)),
        ]
    )
    told = {str(each["target"]): each for each in targets.reached(found)}
    pace, peer, ray, cpu = told.values()
    # 0.4 x pool is 8,000 a second here, and less than 10,000
    assert (pace["value"], pace["met"]) == (pytest.approx(1.25), True)
    assert (peer["value"], peer["met"]) == (pytest.approx(3.0), True)
    assert (ray["value"], ray["met"]) == (None, None)
    assert (cpu["value"], cpu["met"]) == (pytest.approx(100), True)
    assert not any("W2" in line for line in targets.table(found))


def test_growth_of_the_coordinator_is_between_two_sizes_of_a_job() -> None:
    found = figures.Found(
        run("trunkline", 1, workload, rss_of={"coordinator": size}, extra={"first begin s": 2.0})
        for workload, size in (("big/10", 100_000_000), ("big", 150_000_000))
    )
    told = {str(each["target"]): each["met"] for each in targets.reached(found)}
    assert told == {
        "coordinator's peak RSS below 200 MB": True,
        "below 1.2 x that of a tenth of the datums": False,
        "first datum begins within 1 s": False,
    }


def test_a_job_begins_when_its_first_command_does() -> None:
    tally = Outcomes(began_ns=1_000_000_000)
    tally.add(view(0, 3_000_000_000, process_s=0.5))
    tally.add(view(1, 2_900_000_000, process_s=1.5, attempts=2))
    assert tally.first_begin_s == pytest.approx(0.4)
    assert tally.moments == [1.9, 2.0]
    assert tally.again == 1


def test_a_datum_without_its_outcome_makes_a_run_worthless() -> None:
    tally = Outcomes(began_ns=0)
    tally.add(view(0, 1))
    with pytest.raises(WrongResultError, match="datum 1 has no outcome"):
        tally.add(view(2, 2))
    with pytest.raises(WrongResultError, match="datum 1 has no outcome"):
        tally.add(api.DatumView(index=1, state="RUNNING"))


@pytest.mark.parametrize(
    ("state", "processed"), [(JobState.FAILURE, 2), (JobState.SUCCESS, 1), (JobState.SUCCESS, 3)]
)
def test_a_job_that_did_not_end_as_it_must_is_no_result(state: JobState, processed: int) -> None:
    job = records.Job(
        pipeline="out",
        version=1,
        id="j1",
        code_hash="c",
        spec=spec.PipelineSpec(
            name="out",
            transform=spec.Transform(cmd=("true",)),
            input=spec.Input(pfs=spec.PfsInput(repo="in", glob="/")),
        ),
        salt="",
        order=1,
        inputs=(),
        created_ns=0,
        state=state,
        counts=records.Counts(processed=processed),
    )
    tally = Outcomes(began_ns=0, ends_ns=array.array("q", [1, 2]))
    with pytest.raises(WrongResultError):
        tally.check(job, 2)
