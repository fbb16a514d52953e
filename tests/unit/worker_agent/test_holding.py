from collections import deque

from tests.support.held import Worker, only

from trunkline.worker_agent.core import holding
from trunkline.worker_agent.core.lease import (
    Advanced,
    Assigned,
    Begin,
    Cancel,
    Forget,
    GiveBack,
    Isolated,
    Key,
    Ran,
    Reconnected,
    Settled,
    Stage,
    Started,
    Stopped,
    Stored,
    Superseded,
    Tell,
    Ticked,
    Want,
)


def test_a_job_of_unknown_pace_is_asked_for_its_slots_and_one_to_be_staged():
    assert Worker(prefetch=7).first == [Want("j1", 2)]


def test_what_takes_some_fifty_milliseconds_is_fetched_ahead():
    assert Worker(prefetch=256).work(range(1, 30), 0.01) == 1 + 5
    assert Worker(prefetch=256).work(range(1, 30), 0.06) == 1 + 1
    assert Worker(prefetch=256).work(range(1, 300), 0.0001) == 1 + 256


def test_requests_go_out_when_half_of_what_is_fetched_ahead_is_used_up():
    worker = Worker(prefetch=256)
    worker.work(range(1, 300), 0.001)
    wants = [only(Want, worker.receive(n) + worker.done(n)) for n in range(300, 400)]
    assert sum(map(bool, wants)) <= 100 // 20


def test_a_server_that_delivers_at_once_is_not_asked_for_each_datum():
    worker = Worker(prefetch=256)
    line, came, requests = deque(only(Want, worker.first)), 0, 0
    for sequence in range(1, 500):
        while line:
            requests += 1
            for _ in range(line.popleft().count):
                came += 1
                line += only(Want, worker.receive(came))
        assert came >= sequence, "the slot waits for what nobody has asked for"
        assert came <= sequence + 1 + 20
        worker.now_s += 0.0025
        line += only(Want, worker.done(sequence))
    assert requests <= 500 // 10 + 3


def test_no_more_is_fetched_ahead_than_half_of_what_waits():
    worker = Worker(prefetch=256)
    worker.work(range(1, 30), 0.0001)
    worker.holding._asked.clear()
    assert worker.work([30], 0.0001, pending=20) == 10
    worker.holding._asked.clear()
    assert worker.work([31], 0.0001, pending=0) == 1


def test_a_younger_job_is_asked_for_the_free_slots_only():
    worker = Worker(prefetch=256, jobs=("old", "new"))
    assert worker.first == [Want("old", 2), Want("new", 1)]


def test_a_received_datum_is_told_before_it_is_begun():
    effects = Worker().receive(1)
    assert effects.index(Tell()) < effects.index(Begin(Key("j1", 1)))


def test_the_next_one_is_staged_and_begun_when_the_slot_is_free():
    worker = Worker()
    worker.receive(1)
    assert only(Stage, worker.receive(2)) == [Stage(Key("j1", 2))]
    assert only(Begin, worker.tell(Ran(Key("j1", 1)))) == [Begin(Key("j1", 2))]


def test_more_is_asked_for_while_outputs_are_still_stored():
    worker = Worker(prefetch=0)
    worker.receive(1)
    assert only(Want, worker.tell(Ran(Key("j1", 1)))) == [Want("j1", 1)]


def test_outputs_that_cannot_be_stored_hold_up_the_next_ones():
    worker = Worker(prefetch=3)
    for sequence in (1, 2, 3):
        worker.receive(sequence)
    worker.tell(Ran(Key("j1", 1)))
    assert only(Begin, worker.tell(Ran(Key("j1", 2)))) == []
    assert only(Begin, worker.tell(Stored(Key("j1", 1)))) == [Begin(Key("j1", 3))]


def test_outcomes_that_are_on_their_way_hold_up_the_next_ones_only_when_they_pile_up():
    worker = Worker(prefetch=3)
    for sequence in range(1, holding.REPORTING_MAX + 2):
        assert len(only(Begin, worker.receive(sequence))) == 1
        worker.tell(Ran(Key("j1", sequence)))
        worker.tell(Stored(Key("j1", sequence)))
        if sequence == holding.REPORTING_MAX:
            break
    last = holding.REPORTING_MAX + 1
    assert only(Begin, worker.receive(last)) == []
    assert only(Begin, worker.tell(Settled(Key("j1", 7)))) == [Begin(Key("j1", last))]


def test_what_may_have_been_delivered_before_is_not_staged_ahead():
    worker = Worker()
    worker.receive(1)
    assert only(Stage, worker.receive(2, fresh=False)) == []
    assert only(Begin, worker.tell(Ran(Key("j1", 1)))) == [Begin(Key("j1", 2))]


def test_what_waits_too_long_is_given_back_and_no_more_is_fetched_ahead():
    worker = Worker()
    worker.receive(1)
    worker.receive(2)
    worker.now_s += 1.9
    assert worker.tell(Ticked()) == []
    worker.now_s += 0.2
    assert worker.tell(Ticked()) == [GiveBack(Key("j1", 2))]
    worker.now_s += 60
    assert only(Want, worker.tell(Ran(Key("j1", 1)))) == [Want("j1", 1)]


def test_short_datums_are_fetched_ahead_again_after_long_ones():
    worker = Worker()
    worker.receive(1)
    worker.now_s += 5
    assert only(Want, worker.done(1)) == []  # one was asked for to be staged, before it was known
    worker.receive(2)
    worker.now_s += 5
    assert only(Want, worker.done(2)) == [Want("j1", 1)]
    assert worker.work(range(3, 30), 0.01) == 2


def test_what_is_settled_without_a_start_says_nothing_of_the_pace():
    worker = Worker(prefetch=256)
    worker.receive(1, fresh=False)
    worker.now_s += 0.001
    worker.tell(Ran(Key("j1", 1)))  # it is given up: it has taken too many workers along
    assert only(Want, worker.tell(Settled(Key("j1", 1)))) == []
    assert worker.work([2], 0.4) == 1 + 1


def test_a_job_that_is_gone_is_cancelled_everywhere():
    worker = Worker(jobs=("j1", "j2"))
    worker.receive(1)
    worker.receive(2)
    worker.receive(3, "j2")
    effects = worker.tell(Assigned(("j2",)))
    assert Want("j1", 0) in effects
    assert Cancel(Key("j1", 1), begun=True) in effects
    assert Cancel(Key("j1", 2), begun=False) in effects
    assert worker.tell(Assigned(("j2",))) == []  # once is enough
    assert only(Begin, worker.tell(Ran(Key("j1", 1)))) == [Begin(Key("j2", 3))]


def test_a_datum_that_was_restarted_is_killed_or_taken_off_and_the_others_go_on():
    worker = Worker(prefetch=9)
    worker.receive(1)
    worker.receive(2)
    worker.receive(3)
    effects = worker.tell(Superseded(Key("j1", 2)))
    assert effects[:2] == [Cancel(Key("j1", 2), begun=False), Tell()]
    assert Cancel(Key("j1", 1), begun=True) in worker.tell(Superseded(Key("j1", 1)))
    assert not only(Cancel, worker.tell(Superseded(Key("j1", 1))))  # once is enough
    assert only(Begin, worker.done(1)) == [Begin(Key("j1", 3))]
    assert not only(Cancel, worker.tell(Superseded(Key("j1", 1))))  # it is settled


def test_a_late_datum_of_a_job_that_is_gone_is_taken_off():
    assert Worker(jobs=()).receive(1) == [Cancel(Key("j1", 1), begun=False)]


def test_after_a_reconnect_only_what_was_begun_is_left():
    worker = Worker()
    worker.receive(1)
    worker.receive(2)
    effects = worker.tell(Reconnected())
    assert effects[:2] == [Forget(Key("j1", 2)), Tell()]
    assert [each.sequence for each in worker.holding.held()] == [1]


def test_a_datum_that_comes_again_while_it_runs_is_not_begun_twice():
    worker = Worker()
    worker.receive(1)
    assert only(Begin, worker.receive(1, fresh=False)) == []
    assert len(worker.holding.leases) == 1


def test_a_stopped_worker_gives_back_and_finishes_what_runs():
    worker = Worker()
    worker.receive(1)
    worker.receive(2)
    assert worker.tell(Stopped()) == [Want("j1", 0), GiveBack(Key("j1", 2)), Tell()]
    assert worker.receive(3) == [GiveBack(Key("j1", 3))]
    assert worker.tell(Ran(Key("j1", 1))) == []
    assert worker.tell(Settled(Key("j1", 1))) == [Tell()]
    assert worker.holding.idle


def test_an_isolated_datum_has_the_worker_to_itself_until_it_is_settled():
    worker = Worker(prefetch=3)
    worker.receive(1)
    worker.tell(Ran(Key("j1", 1)))  # its outputs are on their way
    worker.receive(2)
    worker.receive(3)
    effects = worker.tell(Isolated(Key("j1", 2)))
    assert effects == [Want("j1", 0), GiveBack(Key("j1", 3)), Tell()]
    assert worker.receive(4) == [GiveBack(Key("j1", 4))]
    assert not worker.holding.alone
    assert only(Want, worker.tell(Settled(Key("j1", 1)))) == []
    assert worker.holding.alone
    assert worker.tell(Ran(Key("j1", 2))) == []
    assert only(Want, worker.tell(Settled(Key("j1", 2))))
    assert only(Begin, worker.receive(5)) == [Begin(Key("j1", 5))]


def test_the_others_of_its_message_are_not_isolated():
    worker = Worker(prefetch=3)
    worker.receive(1)
    worker.tell(Isolated(Key("j1", 1)))
    effects = worker.tell(Advanced(Key("j1", 1), index=2, generation=1))
    assert only(Want, effects)


def test_a_worker_that_stops_isolates_nobody_any_more():
    worker = Worker()
    worker.receive(1)
    worker.tell(Stopped())
    assert worker.tell(Isolated(Key("j1", 1))) == []
    assert not worker.holding.alone


def test_the_oldest_job_comes_first():
    worker = Worker(jobs=("old", "new"))
    worker.receive(1, "new")
    worker.receive(2, "new")
    worker.receive(3, "old")
    assert only(Begin, worker.tell(Ran(Key("new", 1)))) == [Begin(Key("old", 3))]


def test_a_claim_says_which_datum_of_a_set_executes():
    worker = Worker()
    worker.receive(7)
    worker.tell(Started(Key("j1", 7)))
    worker.now_s += 1
    assert worker.tell(Advanced(Key("j1", 7), index=8, generation=2)) == [Tell()]
    (held,) = worker.holding.held()
    assert (held.sequence, held.index, held.generation) == (7, 8, 2)
    assert (held.executing, held.since_ns) == (True, int(worker.now_s * 1e9))
    assert held.preparing


def test_a_claim_says_whether_the_command_was_started():
    worker = Worker()
    worker.receive(7)
    (held,) = worker.holding.held()
    assert (held.executing, held.preparing) == (True, True)
    assert worker.tell(Started(Key("j1", 7))) == [Tell()]
    (held,) = worker.holding.held()
    assert (held.executing, held.preparing) == (True, False)
    worker.tell(Ran(Key("j1", 7)))
    (held,) = worker.holding.held()
    assert (held.executing, held.preparing) == (False, False)
    assert worker.tell(Started(Key("j1", 7))) == [], "too late"


def test_what_has_nothing_to_be_stored_does_not_hold_up_the_next_ones():
    worker = Worker(prefetch=3)
    for sequence in (1, 2, 3, 4):
        worker.receive(sequence)
    for sequence in (1, 2, 3):
        effects = worker.tell(Ran(Key("j1", sequence), stored=True))
        assert only(Begin, effects) == [Begin(Key("j1", sequence + 1))]


def test_a_claim_says_what_executes():
    worker = Worker()
    worker.receive(1)
    worker.receive(2)
    first, second = worker.holding.held()
    assert (first.executing, first.since_ns > 0) == (True, True)
    assert (second.executing, second.since_ns) == (False, 0)
