"""Headers, ack subjects and times as the server writes them."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.bus import headers, jetstream

PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(st.dictionaries(st.from_regex(r"[A-Za-z-]{1,20}", fullmatch=True), PRINTABLE))
def test_headers_come_back_as_they_were(values: dict[str, str]) -> None:
    assert headers.decode(headers.encode(values)) == values


def test_a_value_cannot_bring_a_header_of_its_own() -> None:
    block = headers.encode({"A": "x\r\nNats-Msg-Id: forged\r\n\r\n"})
    assert headers.MSG_ID not in headers.decode(block)


def test_statuses_are_read_with_and_without_description_and_headers() -> None:
    assert headers.status(b"NATS/1.0 503\r\n\r\n") == (503, "")
    block = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\n\r\n"
    assert headers.status(block) == (408, "Request Timeout")
    assert headers.decode(block) == {"Nats-Pending-Messages": "3"}
    assert headers.status(b"NATS/1.0\r\nA: b\r\n\r\n") == (0, "")
    assert headers.status(None) == (0, "")
    assert headers.status(b"NATS/1.0 odd\r\n\r\n")[0] == 0


def test_both_forms_of_an_ack_subject_are_read() -> None:
    tail = "S.C.2.40.7.1700000000000000001.5"
    expected = jetstream.AckSubject(2, 40, 7, 1700000000000000001, 5)
    assert jetstream.parse_ack(f"$JS.ACK.{tail}") == expected
    assert jetstream.parse_ack(f"$JS.ACK._.hash.{tail}") == expected
    assert jetstream.parse_ack(f"$JS.ACK._.hash.{tail}.random") == expected


def test_times_keep_their_nanoseconds() -> None:
    assert jetstream.parse_time("1970-01-01T00:00:01.000000002Z") == 1_000_000_002
    assert jetstream.parse_time("1970-01-01T00:00:01.5Z") == 1_500_000_000
    assert jetstream.parse_time("1970-01-01T00:00:01Z") == 1_000_000_000
