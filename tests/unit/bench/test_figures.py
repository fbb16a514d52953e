"""What the bench makes of what it has read."""

import pytest
from bench import figures, processes


def run(system: str, seconds: float) -> figures.Run:
    return figures.Run("W1", system, 1000, seconds, cpu_s=0.1, rss_bytes=5_000_000)


def test_a_name_with_parentheses_and_blanks_does_not_shift_the_fields() -> None:
    line = "42 (a) b (c) S 7 " + " ".join(["0"] * 9) + " 1 20 300 4000 0 0"
    assert processes.parse_stat(line) == processes.Process(42, 7, 4321)


def test_a_tree_holds_descendants_and_nobody_else() -> None:
    parents = {1: 0, 2: 1, 3: 2, 4: 1, 5: 4}
    everything = [processes.Process(pid, parent, 0) for pid, parent in parents.items()]
    assert sorted(each.pid for each in processes.below(2, everything)) == [2, 3]
    assert sorted(each.pid for each in processes.below(1, everything)) == [1, 2, 3, 4, 5]


def test_a_zombie_has_no_peak() -> None:
    assert processes.parse_peak("Name:\tx\nVmHWM:\t   12 kB\n") == 12 * 1024
    assert processes.parse_peak("Name:\tx\nState:\tZ\n") == 0


def test_the_steady_pace_leaves_out_a_slow_start_and_a_slow_end() -> None:
    moments = [5.0 + number * 0.01 for number in range(99)] + [60.0]
    samples = [(moment, number + 1) for number, moment in enumerate(moments)]
    assert figures.steady_seconds(samples, 100) == pytest.approx(1.0)


def test_two_datums_have_no_steady_pace() -> None:
    assert figures.steady_seconds([(0.1, 1), (0.2, 2)], 2) == 0


def test_ratios_are_of_runs_that_alternated() -> None:
    ours, theirs = [run("trunkline", 2), run("trunkline", 1)], [run("pool", 1), run("pool", 1)]
    assert figures.ratios(ours, theirs) == [0.5, 1.0]
    text = figures.table([*ours, *theirs])
    assert "| W1 | pool | 2 x 1,000 | 1,000 [1,000..1,000] | - | 0.75 [0.50..1.00] | 100" in text
