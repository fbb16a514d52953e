from hypothesis import given
from hypothesis import strategies as st

from trunkline.worker_agent.core import printed
from trunkline.worker_agent.core.printed import AGENT, Printed


def text(pieces, stream="stdout"):
    return "".join(each.text for each in pieces if each.stream == stream)


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.text(max_size=3000))))
def test_all_that_is_printed_comes_out_once_and_in_order(chunks):
    output, pieces = Printed(), []
    for stream, chunk in chunks:
        pieces += output.take(stream, chunk.encode("utf-8", "replace"))
        pieces += output.due()
    pieces += output.end()
    for stream in ("stdout", "stderr"):
        want = b"".join(c.encode("utf-8", "replace") for s, c in chunks if s == stream)
        assert text(pieces, stream) == want.decode()


@given(
    st.lists(st.integers(0, 60_000), max_size=20),
    st.sampled_from([b"x", b"a line\n", "ö\n".encode(), "€€€€".encode()]),
    st.integers(0, 200_000),
)
def test_pieces_and_their_sum_are_bounded(sizes, unit, limit):
    output, pieces = Printed(limit_bytes=limit), []
    sizes = [size // len(unit) * len(unit) for size in sizes]
    for size in sizes:
        pieces += output.take("stdout", unit * (size // len(unit)))
    pieces += output.end()
    assert all(len(each.text.encode()) <= printed.PIECE_BYTES + 3 for each in pieces)
    kept = sum(len(each.text.encode()) for each in pieces if each.stream == "stdout")
    assert kept <= limit + 3
    assert output.size == sum(sizes)
    assert bool([each for each in pieces if each.stream == AGENT]) == (sum(sizes) > limit)


def test_lines_are_not_cut_where_they_need_not_be():
    output = Printed()
    line = b"x" * 999 + b"\n"
    pieces = output.take("stdout", line * 50)
    assert pieces
    assert all(each.text.endswith("\n") for each in pieces)


def test_characters_are_not_cut():
    output = Printed()
    pieces = [*output.take("stdout", ("€" * 20_000).encode()), *output.end()]
    assert text(pieces) == "€" * 20_000


def test_what_is_due_is_whole_lines():
    output = Printed()
    assert output.take("stdout", b"one\ntw") == []
    assert [each.text for each in output.due()] == ["one\n"]
    assert output.due() == []
    output.take("stdout", b"o")
    assert [each.text for each in output.end()] == ["two"]


def test_over_the_limit_there_is_one_notice_at_once_and_the_count_at_the_end():
    output = Printed(limit_bytes=10)
    pieces = output.take("stdout", b"0123456789abc")
    assert text(pieces) == "0123456789"
    assert text(pieces, AGENT).startswith("over 10 bytes")
    assert output.take("stderr", b"more") == []
    assert text(output.end(), AGENT) == "7 bytes of output were not kept"


def test_the_tail_is_the_last_whole_lines_of_both_streams():
    output = Printed(limit_bytes=10)
    for number in range(2000):
        output.take("stdout" if number % 2 else "stderr", b"line %d\n" % number)
    lines = output.tail.split("\n")
    assert lines[-1] == "line 1999"
    assert lines[0].startswith("line ")
    assert 3000 < len(output.tail.encode()) <= printed.TAIL_BYTES


def test_the_tail_of_garbage_is_text_and_bounded():
    output = Printed()
    output.take("stdout", bytes(range(128, 256)) * 100)
    assert len(output.tail.encode()) <= printed.TAIL_BYTES


def test_a_short_output_is_its_own_tail():
    output = Printed()
    output.take("stderr", b"Traceback\nValueError: no\n")
    assert output.tail == "Traceback\nValueError: no"
