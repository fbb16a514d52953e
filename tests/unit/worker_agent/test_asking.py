from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline.worker_agent.core import asking
from trunkline.worker_agent.core.asking import Answer, Asking, Finished, Ready, Refuse, State


def joined(*connections: int) -> Asking:
    one = Asking()
    for each in connections:
        assert one.connected(each) == []
    return one


def refused(effects) -> str:
    (effect,) = effects
    assert isinstance(effect, Refuse)
    assert effect.line.endswith(b"\n\n")
    return effect.line.decode()


def test_a_command_asks_works_and_asks_again():
    one = joined(1)
    assert one.received(1, b"next\n") == [Ready()]
    assert one.give(b"datum 1\n\n") == Answer(1, b"datum 1\n\n")
    assert one.received(1, b"next\n") == [Finished(None)]
    assert one.give(b"datum 2\n\n") == Answer(1, b"datum 2\n\n")
    assert one.received(1, b"next it was too large\n") == [Finished("it was too large")]


def test_each_request_may_come_on_a_connection_of_its_own():
    one = joined(1)
    assert one.received(1, b"next\n") == [Ready()]
    one.give(b"")
    one.closed(1)
    one.connected(2)
    assert one.received(2, b"next\n") == [Finished(None)]


def test_a_request_may_come_byte_by_byte():
    one = joined(1)
    for each in b"next":
        assert one.received(1, bytes([each])) == []
    assert one.received(1, b"\r\n") == [Ready()]


def test_who_waits_and_goes_is_forgotten_and_no_datum_is_lost():
    one = joined(1, 2)
    one.received(1, b"next\n")
    one.closed(1)
    assert one.state is State.IDLE
    assert one.received(2, b"next\n") == [Ready()]
    one.give(b"")
    one.untaken()
    assert one.received(2, b"next\n") == [Ready()]


def test_who_goes_before_it_has_read_its_datum_has_failed_it_and_no_later_one():
    one = joined(1, 2)
    one.received(1, b"next\n")
    one.give(b"")
    assert one.received(2, b"next\n") == [Finished(None)]
    one.give(b"")
    assert one.lost(1) == []
    assert one.lost(2) == [Finished(asking.UNREAD)]
    assert one.state is State.IDLE


def test_a_text_of_blanks_is_none():
    one = joined(1)
    one.received(1, b"next \n")
    one.give(b"")
    assert one.received(1, b"next \t  \n") == [Finished(None)]


def test_the_end_is_told_to_who_waits_and_to_who_asks_later():
    one = joined(1, 2)
    one.received(1, b"next\n")
    assert one.end() == [Answer(1, b"end\n\n")]
    assert one.received(2, b"next\n") == [Ready(), Answer(2, b"end\n\n")]


def test_the_last_datum_counts_when_there_is_no_other():
    one = joined(1)
    one.received(1, b"next\n")
    one.give(b"")
    assert one.end() == []
    assert one.received(1, b"next\n") == [Finished(None), Answer(1, b"end\n\n")]


def test_only_one_may_wait():
    one = joined(1, 2)
    one.received(1, b"next\n")
    assert "another connection waits" in refused(one.received(2, b"next\n"))
    assert one.state is State.WAITING


def test_nothing_may_follow_before_the_answer():
    one = joined(1, 2)
    assert "more was sent" in refused(one.received(1, b"next\nnext\n"))
    assert one.state is State.IDLE
    one.received(2, b"next\n")
    assert "more was sent" in refused(one.received(2, b"n"))
    assert one.state is State.IDLE


def test_an_error_needs_a_datum():
    one = joined(1)
    assert "no datum is in hand" in refused(one.received(1, b"next oops\n"))


def test_what_is_no_request_is_refused_and_changes_nothing():
    for sent in (b"\n", b"NEXT\n", b"GET / HTTP/1.1\r\n", b"\xff\xfe\0\n", b"nextnext\n"):
        one = joined(1, 2)
        one.received(2, b"next\n")
        one.give(b"")
        assert "no request of this name" in refused(one.received(1, sent))
        assert one.state is State.BUSY
        assert one.received(1, b"next\n") == []  # it was cut off


def test_a_line_without_an_end_is_cut_off():
    one = joined(1)
    assert one.received(1, b"next " + b"x" * (asking.LINE_MAX_BYTES - 5)) == []
    assert "a line of more than" in refused(one.received(1, b"x"))


def test_there_are_not_too_many_connections():
    one = joined(*range(asking.CONNECTIONS_MAX))
    assert "too many" in refused(one.connected(99))
    one.closed(0)
    assert one.connected(99) == []


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_]\w*", fullmatch=True),
        st.text().filter(lambda text: "\0" not in text),
    )
)
def test_values_come_through_as_they_are(env):
    from trunkline import worker  # noqa: PLC0415

    written = asking.datum("d1", {"in": "/pfs/in/a\nb\\n"}, "/pfs/out", env)
    assert written.endswith(b"\n\n")
    assert b"\n\n" not in written[:-1]
    first, *lines = written[:-2].decode("utf-8", "surrogateescape").split("\n")
    read = worker._read(first.partition(" ")[2], lines)
    assert (read.id, read.inputs, read.out, read.env) == (
        "d1",
        {"in": "/pfs/in/a\nb\\n"},
        "/pfs/out",
        env,
    )


class Command(RuleBasedStateMachine):
    """Any connections that send anything at all, and a worker that gives when it may."""

    def __init__(self):
        super().__init__()
        self.one = Asking()
        self.open: set[int] = set()
        self.given = self.finished = 0

    def take(self, effects):
        for effect in effects:
            match effect:
                case Finished():
                    self.finished += 1
                case Refuse(connection, _):
                    self.open.discard(connection)
                case Answer(connection, _):
                    assert connection in self.open
                case _:
                    assert effect == Ready()

    @rule(connection=st.integers(1, 4))
    def connect(self, connection):
        if connection not in self.open:
            self.open.add(connection)
            self.take(self.one.connected(connection))

    @rule(
        connection=st.integers(1, 4),
        data=st.one_of(
            st.binary(min_size=1), st.sampled_from([b"next\n", b"ne", b"xt\n", b"next x\n"])
        ),
    )
    def send(self, connection, data):
        self.take(self.one.received(connection, data))

    @rule(connection=st.integers(1, 4))
    def close(self, connection):
        self.open.discard(connection)
        self.one.closed(connection)

    @precondition(lambda self: self.one.state is State.WAITING)
    @rule(sent=st.booleans())
    def give(self, sent):
        self.take([self.one.give(b"datum\n\n")])
        if sent:
            self.given += 1
        else:
            self.one.untaken()

    @rule(connection=st.integers(1, 4))
    def lose(self, connection):
        self.open.discard(connection)
        self.take(self.one.lost(connection))

    @rule()
    def end(self):
        self.take(self.one.end())

    @invariant()
    def each_datum_is_finished_at_most_once(self):
        assert self.given - self.finished == (1 if self.one.state is State.BUSY else 0)


TestCommand = Command.TestCase
TestCommand.settings = settings(max_examples=40, stateful_step_count=30)
