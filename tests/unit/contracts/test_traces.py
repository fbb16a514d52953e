import pytest

from trunkline.contracts import traces

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ONE = f"00-{TRACE}-{SPAN}-01"


def test_a_traceparent_is_taken_as_it_is():
    assert traces.parsed(ONE) == ONE
    assert traces.parsed(f"00-{TRACE}-{SPAN}-00") == f"00-{TRACE}-{SPAN}-00"


def test_of_a_later_version_the_known_part_is_taken():
    assert traces.parsed(f"cc-{TRACE}-{SPAN}-01-what-comes-later") == ONE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        ONE.upper(),
        ONE[:-1],
        ONE + "-more",
        ONE + "0",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.x",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        ONE + "\n",
        f"00-{TRACE}-{SPAN}-01\r\nNats-Msg-Id: 1",
    ],
)
def test_what_is_none_is_nothing(text):
    assert traces.parsed(text) == ""


def test_a_child_is_another_span_of_the_same_trace_and_of_none_there_is_none():
    assert traces.child(ONE, "c" * 16) == f"00-{TRACE}-{'c' * 16}-01"
    assert traces.child("", "c" * 16) == ""
    assert traces.trace(ONE) == TRACE


def test_a_set_that_nobody_has_given_one_has_always_the_same_that_tells_not_its_id():
    assert traces.of_set("0" * 32) == traces.of_set("0" * 32) != traces.of_set("1" * 32)
    assert traces.parsed(traces.of_set("ab" * 16))
    assert "ab" * 16 not in traces.of_set("ab" * 16)
