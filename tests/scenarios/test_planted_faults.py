"""The model of a job looks at copies: each fault that is put into what keeps them harmless is found by it.

What keeps them so: one runs, once; whoever is first counts, once, and says that the other is superseded; the
other is refused, and cancelled with its next renewal; nobody is charged for a copy.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test
from tests.scenarios.test_model_of_a_job import NAMES, Job
from tests.support.faulty import World

from trunkline.contracts import attempts
from trunkline.contracts.attempts import Ledger
from trunkline.coordinator.core.job import Fold
from trunkline.worker_agent.core.holding import Holding

NEVER: Any = None
"""In the place of a rule of the other model: it is none here."""


class Copies(Job):
    """The same, of what bears on copies: where less happens, more of that comes together."""

    list_window = look_at_the_queue = restart_a_datum = the_coordinator_dies = NEVER
    the_reaper_dies = a_message_is_lost = news_is_lost = NEVER

    @initialize(total=st.integers(1, 12))
    def begin(self, total):
        Job.begin(self, total=total)
        for name in NAMES[2:]:
            self.start(name)


TestCopies = Copies.TestCase
TestCopies.settings = settings(max_examples=60, stateful_step_count=40)

SOME = settings(
    max_examples=200,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)
"""Each is found within the first ten or so."""

Plant = Callable[[pytest.MonkeyPatch], None]


def whoever_asks_runs_a_copy(planted: pytest.MonkeyPatch) -> None:
    planted.setattr(attempts, "verdict_of_copy", lambda _: attempts.Run())


def copies_are_charged(planted: pytest.MonkeyPatch) -> None:
    def charged(ledger: Ledger) -> list[attempts.Attempt]:
        return [each for each in ledger.attempts if each.cause in attempts.CHARGED]

    planted.setattr(attempts, "charged", charged)


def a_copy_is_recorded_as_any_attempt(planted: pytest.MonkeyPatch) -> None:
    was = attempts.started

    def started(ledger: Ledger, attempt: attempts.Attempt) -> Ledger:
        return was(ledger, msgspec.structs.replace(attempt, copy=False))

    planted.setattr(attempts, "started", started)


def who_is_beaten_runs_on(planted: pytest.MonkeyPatch) -> None:
    planted.setattr(Holding, "_superseded", lambda *_: [])


def who_is_first_says_nothing_of_the_copy(planted: pytest.MonkeyPatch) -> None:
    planted.setattr(attempts, "superseded", lambda ledger, *_: ledger)


def a_second_outcome_is_stored(planted: pytest.MonkeyPatch) -> None:
    was = World.report

    def report(self: World, index: int, generation: int, *rest: Any) -> None:
        self.outcomes.pop((index, generation), None)
        was(self, index, generation, *rest)

    planted.setattr(World, "report", report)


def what_is_told_twice_counts_twice(planted: pytest.MonkeyPatch) -> None:
    was = Fold.seen

    def seen(self: Fold, index: int, *rest: Any, **more: Any) -> object:
        self._tally[1] += self.state_of(index) is not None
        return was(self, index, *rest, **more)

    planted.setattr(Fold, "seen", seen)


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (whoever_asks_runs_a_copy, "copies were run again|was copied twice|charges for"),
        (copies_are_charged, "charges for"),
        (a_copy_is_recorded_as_any_attempt, "charges for|given up after"),
        (who_is_beaten_runs_on, "runs on, and was beaten"),
        (who_is_first_says_nothing_of_the_copy, "not said to be over"),
        (a_second_outcome_is_stored, "have two outcomes"),
        (what_is_told_twice_counts_twice, "are counted"),
    ],
)
def test_a_fault_in_the_rules_for_copies_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Plant, told: str
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=told):
        run_state_machine_as_test(Copies, settings=SOME)
