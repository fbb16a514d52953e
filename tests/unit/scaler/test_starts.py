"""How long a pipeline waits whose workers do not come up."""

from trunkline.scaler.core.starts import MOST_S, STEADY_S, Starts


def test_the_first_failure_costs_nothing() -> None:
    starts = Starts()
    starts.failed("it died", 100.0)
    assert starts.wait_s(100.0) == 0
    assert starts.problem == "it died"


def test_failures_in_a_row_double_the_wait_to_a_bound() -> None:
    starts, waits = Starts(), []
    for _ in range(12):
        starts.failed("no", 100.0)
        waits.append(starts.wait_s(100.0))
    assert waits[:5] == [0, 0.5, 1, 2, 4]
    assert waits[-1] == MOST_S
    assert starts.wait_s(100.0 + MOST_S) == 0


def test_all_is_forgotten_once_it_is_steady() -> None:
    starts = Starts()
    starts.failed("no", 100.0)
    starts.failed("no", 100.0)
    starts.steady(100.0 + STEADY_S / 2)
    assert starts.problem
    starts.steady(100.0 + STEADY_S)
    assert not starts.problem
    starts.failed("no", 200.0)
    assert starts.wait_s(200.0) == 0
