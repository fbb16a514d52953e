"""A worker that holds datums, with a clock and no I/O."""

from trunkline.worker_agent.core.holding import Holding
from trunkline.worker_agent.core.lease import (
    Assigned,
    Key,
    Ran,
    Received,
    Settled,
    Started,
    Want,
)


class Worker:
    """A holding with a clock and a log of what it wanted done."""

    def __init__(self, *, slots=1, prefetch=1, give_back_s=2.0, jobs=("j1",)):
        self.holding = Holding(
            slots=slots, prefetch=prefetch, ahead_s=0.05, give_back_s=give_back_s
        )
        self.now_s = 100.0
        self.first = self.tell(Assigned(jobs))

    def tell(self, event):
        return self.holding.handle(event, self.now_s, int(self.now_s * 1e9))

    def receive(self, sequence, job="j1", *, fresh=True, pending=1000):
        return self.tell(Received(Key(job, sequence), sequence, 1, fresh, pending))

    def done(self, sequence, job="j1"):
        key = Key(job, sequence)
        return self.tell(Started(key)) + self.tell(Ran(key)) + self.tell(Settled(key))

    def work(self, sequences, took_s, **received):
        """Receive and finish datums, each of which takes so long; return the last want."""
        wanted = []
        for sequence in sequences:
            wanted += only(Want, self.receive(sequence, **received))
            self.now_s += took_s
            wanted += only(Want, self.done(sequence))
        return wanted[-1].count if wanted else None


def only(kind, effects):
    return [each for each in effects if isinstance(each, kind)]
