"""What is known of a running job's datums, and what is to be done about it.

One byte per datum says how it ended; everything else is in the outcome stream and in the store. The
edge tells what it sees, in any order and as often as it likes, and acts on what comes back:

    Opened(upto)            a window is about to be published: indexes below may have outcomes now
    WindowListed(to, ...)   the window is in the queue or skipped, and the job record says so
    ListingEnded(total)     there are no more datums
    OutcomeSeen(...)        a record of the outcome stream
    Restarted(...)          a datum's generation was raised: its former outcome does not count
    Quiet(pending, ...)     what the job's queue holds right now
    ReadThrough()           the outcome stream was read again from its start, as ReadAgain asked
    Killed()                nothing is to be done any more

    Complete(good)          every datum has its outcome or is skipped; said once
    Ignored(index, why)     a record that cannot be right; to be told, and nothing else
    ReadAgain()             the queue is empty and outcomes are missing, twice: look at the truth
    PutBack(below, count)   they are missing there too: their messages were lost
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from trunkline.contracts.records import Counts
from trunkline.contracts.states import DatumState

_CODES: dict[DatumState, int] = {state: code for code, state in enumerate(DatumState, start=1)}
_STATES: dict[int, DatumState] = {code: state for state, code in _CODES.items()}
_SKIPPED = _CODES[DatumState.SKIPPED]
_BAD = tuple(code for state, code in _CODES.items() if not state.good)


@dataclass(frozen=True, slots=True)
class Opened:
    """Indexes below `upto` may have been published, or are about to be."""

    upto: int


@dataclass(frozen=True, slots=True)
class WindowListed:
    """All indexes below `to` are published or skipped; these of them are skipped."""

    to: int
    skipped: Iterable[int] = ()


@dataclass(frozen=True, slots=True)
class ListingEnded:
    """The job has this many datums."""

    total: int


@dataclass(frozen=True, slots=True)
class OutcomeSeen:
    """The outcome stream holds this."""

    index: int
    generation: int
    state: DatumState


@dataclass(frozen=True, slots=True)
class Restarted:
    """The job record asks for a new outcome of this datum."""

    index: int
    generation: int


@dataclass(frozen=True, slots=True)
class Quiet:
    """What the job's consumer holds: messages that wait, and messages in a worker's hands."""

    pending: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class ReadThrough:
    """All outcomes that were stored when ReadAgain was said have been seen."""


@dataclass(frozen=True, slots=True)
class Killed:
    """The job is being killed."""


Event = (
    Opened | WindowListed | ListingEnded | OutcomeSeen | Restarted | Quiet | ReadThrough | Killed
)


@dataclass(frozen=True, slots=True)
class Complete:
    """Every datum has an outcome or is skipped; `good` if the job may succeed."""

    good: bool


@dataclass(frozen=True, slots=True)
class Ignored:
    """A record that does not count, and why."""

    index: int
    why: str


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """Read all outcomes of the job once more, then tell ReadThrough."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """Publish again, as a new round, the datums below that index that `missing` names."""

    below: int
    count: int


Effect = Complete | Ignored | ReadAgain | PutBack


@dataclass(slots=True)
class _Look:
    """What was known when the queue was first found empty."""

    below: int
    """`listed_to` then: all before it was in the queue before the second look at the queue."""
    done: int
    asked: bool = False


@dataclass(slots=True)
class Fold:
    """The datums of one live job.

    Invariants: `counts` is the tally of the states; no index from `opened` on has a state; where the
    total is known, none from it on has; `listed_to <= opened`; a state changes once per generation;
    Complete is said exactly when the total is known and every index below it has a state, and not
    again before a restart has taken one away.
    """

    generations: dict[int, int] = field(default_factory=dict)
    opened: int = 0
    listed_to: int = 0
    total: int | None = None
    done: int = 0
    """How many datums have a state."""
    _states: bytearray = field(default_factory=bytearray)
    _tally: list[int] = field(default_factory=lambda: [0] * (len(_CODES) + 1))
    _copied: set[int] = field(default_factory=set)
    """Those that have ended of the few that two workers have tried at once."""
    _complete: bool = False
    _killed: bool = False
    _look: _Look | None = None

    @classmethod
    def of(cls, generations: Mapping[str, int]) -> "Fold":
        """Return an empty fold with the generations that the job record names."""
        return cls(generations={int(index): value for index, value in generations.items()})

    @property
    def counts(self) -> Counts:
        """Datums by how they ended, so far."""
        return Counts(
            processed=self._tally[_CODES[DatumState.PROCESSED]],
            skipped=self._tally[_SKIPPED],
            recovered=self._tally[_CODES[DatumState.RECOVERED]],
            failed=self._tally[_CODES[DatumState.FAILED]],
            quarantined=self._tally[_CODES[DatumState.QUARANTINED]],
            copied=len(self._copied),
        )

    @property
    def complete(self) -> bool:
        """Whether every datum has ended."""
        return self._complete

    @property
    def ahead(self) -> int:
        """How many datums were published and have no outcome yet."""
        return self.listed_to - self.done

    @property
    def bad(self) -> int:
        """How many datums have failed or are quarantined."""
        return sum(self._tally[code] for code in _BAD)

    def state_of(self, index: int) -> DatumState | None:
        """Return how a datum ended, or None."""
        return _STATES.get(self._states[index]) if 0 <= index < self.opened else None

    def generation_of(self, index: int) -> int:
        """Return the generation whose outcome counts for a datum."""
        return self.generations.get(index, 1)

    def knows(self, generations: Mapping[str, int]) -> bool:
        """Whether no datum was restarted that this has not heard of."""
        return len(self.generations) == len(generations) and all(
            self.generation_of(int(index)) == value for index, value in generations.items()
        )

    def missing(self, below: int | None = None, after: int = -1) -> Iterator[int]:
        """Yield the indexes that have no state, in order: those that were listed, or some of them.

        Args:
            below: Up to which index, which must be listed; all that are listed by default.
            after: From the index after this one.
        """
        most = self.listed_to if below is None else min(below, self.listed_to)
        at = self._states.find(0, after + 1, most)
        while at >= 0:
            yield at
            at = self._states.find(0, at + 1, most)

    def failed(self, most: int) -> list[int]:
        """Return the first indexes, at most so many, whose datums failed or are quarantined."""
        found: list[int] = []
        for code in _BAD:
            at = self._states.find(code)
            for _ in range(most):
                if at < 0:
                    break
                found.append(at)
                at = self._states.find(code, at + 1)
        return sorted(found)[:most]

    def handle(self, event: Event) -> list[Effect]:
        """Take one event into account and return what is to be done about it, in order."""
        match event:
            case OutcomeSeen(index, generation, state):
                return self.seen(index, generation, state)
            case Opened(upto):
                self._open(upto)
                return []
            case WindowListed(to, skipped):
                return self._window(to, skipped)
            case ListingEnded(total):
                self._window(total, ())
                self.total = total
                self._cut(total)
                return self._completed()
            case Restarted(index, generation):
                self._restart(index, generation)
                return []
            case Quiet(pending, in_flight):
                return self._quiet(empty=pending == 0 and in_flight == 0)
            case ReadThrough():
                return self._read_through()
            case Killed():
                self._killed = True
                return []
            case _:
                assert_never(event)

    def seen(
        self, index: int, generation: int, state: DatumState, *, copied: bool = False
    ) -> list[Effect]:
        """Do the same as `handle` for an OutcomeSeen, of which a job has one for each datum."""
        if not 0 <= index < self.opened or (self.total is not None and index >= self.total):
            return [Ignored(index, "the job has published no such datum")]
        current = self.generations.get(index, 1)
        if generation != current:
            if generation < current:  # what a restart has left behind
                return []
            return [Ignored(index, f"its generation is {generation}, not {current}")]
        if state is DatumState.SKIPPED:
            return [Ignored(index, "only the job record says what is skipped")]
        before = self._states[index]
        if before == _SKIPPED:
            return [Ignored(index, "the datum was skipped")]
        if before:  # told twice
            return []
        self._set(index, _CODES[state])
        if copied:
            self._copied.add(index)
        return self._completed()

    def _open(self, upto: int) -> None:
        if upto > self.opened:
            self._tally[0] += upto - self.opened
            self._states.extend(bytes(upto - self.opened))
            self.opened = upto

    def _window(self, to: int, skipped: Iterable[int]) -> list[Effect]:
        self._open(to)
        for index in skipped:
            if self._states[index] != _SKIPPED:
                self._set(index, _SKIPPED)
        self.listed_to = max(self.listed_to, to)
        return self._completed()

    def _cut(self, total: int) -> None:
        """Forget what was said about indexes that turned out not to exist."""
        for index in range(total, self.opened):
            self._set(index, 0)
        self._tally[0] -= self.opened - total
        self.opened = total
        self._copied = {each for each in self._copied if each < total}
        del self._states[total:]

    def _restart(self, index: int, generation: int) -> None:
        if generation <= self.generations.get(index, 1):
            return
        self.generations[index] = generation
        if 0 <= index < self.opened and self._states[index]:
            self._set(index, 0)
            self._copied.discard(index)
            self._complete = False

    def _set(self, index: int, code: int) -> None:
        before = self._states[index]
        self._tally[before] -= 1
        self._tally[code] += 1
        self._states[index] = code
        self.done += bool(code) - bool(before)

    def _completed(self) -> list[Effect]:
        if self._killed or self._complete or self.total is None or self.done < self.total:
            return []
        self._complete = True
        return [Complete(good=not self.bad)]

    def _quiet(self, *, empty: bool) -> list[Effect]:
        if not empty or self._killed or next(self.missing(), None) is None:
            self._look = None
            return []
        look = self._look
        if look is None or look.done != self.done or next(self.missing(look.below), None) is None:
            self._look = _Look(self.listed_to, self.done)
            return []
        look.asked = True
        return [ReadAgain()]

    def _read_through(self) -> list[Effect]:
        look, self._look = self._look, None
        if look is None or not look.asked or self._killed:
            return []
        lost = sum(1 for _ in self.missing(look.below))
        return [PutBack(look.below, lost)] if lost else []
