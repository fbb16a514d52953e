"""What people see of a pipeline's workers and nodes fits into a message, however many there are."""

from trunkline.contracts import messages
from trunkline.contracts.messages import Claim, Held
from trunkline.scaler.core import showing
from trunkline.scaler.core.decision import Decision
from trunkline.scaler.core.plan import Phase, Seen
from trunkline.scaler.core.standby import Load, Reason
from trunkline.scaler.ports import Node, Worker

MESSAGE = 1 << 20
DECISION = Decision(
    cap=9000,
    want=9000,
    wants={"c" * 64: 9000},
    load=Load(pending=1, in_flight=2),
    reason="so many",
    kind=Reason.CAP,
)


def view(number: int, phase: Phase = Phase.IDLE, since_ns: int = 0) -> showing.View:
    name = f"{'w' * 50}-{number:08d}"
    worker = Worker(
        name=name, pipeline="p", code_hash="c" * 64, node="n", instance=f"{number}", running=True
    )
    held = Held(
        job="f" * 32, sequence=1, index=10**9, generation=1, executing=True, since_ns=since_ns
    )
    claim = Claim(
        worker=name,
        incarnation="i",
        code_hash="c" * 64,
        slots=1,
        held=(held,) if phase is Phase.BUSY else (),
        draining=False,
        pulled_ns=10**18,
    )
    return worker, Seen(name=name, code_hash="c" * 64, phase=phase, since_ns=since_ns), claim


def node(number: int, why_not: str = "") -> Node:
    return Node(name=f"{'n' * 200}-{number:06d}", eligible=not why_not, why_not=why_not)


def test_ten_thousand_workers_on_ten_thousand_nodes_fit_and_all_are_counted() -> None:
    views = [view(number, Phase.BUSY, 10**18 + number) for number in range(9_000)]
    views += [view(number) for number in range(9_000, 10_000)]
    nodes = [node(number) for number in range(9_000)]
    nodes += [node(number, "is not ready" * 100) for number in range(9_000, 10_000)]
    record = showing.scaling("p", DECISION, views, nodes, "trouble " * 10_000)
    assert len(messages.encode(record)) < MESSAGE
    assert (record.have, record.busy, record.ready, record.eligible) == (
        10_000,
        9_000,
        10_000,
        9000,
    )
    assert len(record.workers) + record.more_workers == 10_000
    assert len(record.nodes) + record.more_nodes == 10_000


def test_listed_are_who_has_trouble_and_who_has_been_at_work_for_longest() -> None:
    views = [view(number) for number in range(2_000)]
    views[7] = view(7, Phase.STARTING)
    views[1_500] = view(1_500, Phase.BUSY, since_ns=1)
    nodes = [node(number) for number in range(1_000)]
    nodes[900] = node(900, "is cordoned")
    record = showing.scaling("p", DECISION, views, nodes, "")
    listed = [each.name[-4:] for each in record.workers]
    assert {"0007", "1500"} < set(listed)
    assert listed == sorted(listed)
    assert [each.why_not for each in record.nodes if not each.eligible] == ["is cordoned"]
    assert record.eligible == 999


def test_few_are_listed_as_they_are() -> None:
    record = showing.scaling("p", DECISION, [view(1), view(0)], [node(0)], "")
    assert [each.name[-1] for each in record.workers] == ["1", "0"]
    assert (record.more_workers, record.more_nodes) == (0, 0)
