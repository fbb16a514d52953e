"""Pages of two streams of events: put together, they are all events by time, whatever lies between them."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.bus.ports import Stored
from trunkline.contracts.messages import Event
from trunkline.coordinator import paging, readers
from trunkline.coordinator.stretches import Stretch

LOOKED, MOST = 4, 3
"""Messages that one stretch looks at, and events of a page."""

History = list[tuple[int, bool]]
"""When each message was stored, and whether it can be read."""


def stream(made: History, name: str) -> list[tuple[Stored, Event | None]]:
    return [
        (
            Stored(subject="", data=b"", sequence=sequence, headers={}, at_ns=at_ns),
            Event(kind="k", pipeline="p", at_ns=0, source="", text=f"{name}{sequence}")
            if readable
            else None,
        )
        for sequence, (at_ns, readable) in enumerate(sorted(made), start=1)
    ]


def read(stored: list[tuple[Stored, Event | None]], after: int) -> Stretch[Event]:
    """Do as `stretches.read` does."""
    found: list[tuple[Stored, Event]] = []
    to, to_ns, rest = after, 0, stored[after:]
    for looked, (each, event) in enumerate(rest):
        if len(found) == MOST or looked == LOOKED:
            return Stretch(found, to, to_ns, more=True)
        if event is not None:
            found.append((each, event))
        to, to_ns = each.sequence, max(to_ns, each.at_ns)
    return Stretch(found, to, to_ns, more=False)


histories = st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=25)


@given(histories, histories)
def test_all_pages_together_are_all_events_by_time(first: History, second: History) -> None:
    both = stream(first, "a"), stream(second, "b")
    seen, shown, more = (0, 0), list[str](), True
    while more:
        ours, theirs = (read(each, after) for each, after in zip(both, seen, strict=True))
        entries, ended = readers._merged(ours, theirs, seen)
        answer = paging.cut(entries, MOST)
        shown += [event.text for _, event in entries[:MOST]]
        place = answer.next if answer.more else ended
        more = answer.more or ours.more or theirs.more
        before, seen = seen, readers._position(place)
        assert not more or seen > before, "a page leads nowhere"
    known = {event.text: each.at_ns for some in both for each, event in some if event is not None}
    assert sorted(shown) == sorted(known)
    times = [known[each] for each in shown]
    assert times == sorted(times)
