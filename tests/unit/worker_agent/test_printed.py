from hypothesis import given
from hypothesis import strategies as st

from trunkline.worker_agent.core import printed
from trunkline.worker_agent.core.printed import AGENT, Printed


def text(pieces, stream="stdout"):
    return "".join(each.text for each in pieces if each.stream == stream)


def shown(data: bytes) -> bytes:
    """What a terminal shows of it, in a simpler way."""
    lines = []
    for line in data.split(b"\n"):
        body = line.rstrip(b"\r")
        lines.append(body.rpartition(b"\r")[2] + line[len(body) :])
    return b"\n".join(lines)


CHUNKS = st.lists(
    st.tuples(st.sampled_from(["stdout", "stderr"]), st.text(max_size=300)), max_size=20
)


@given(CHUNKS, st.data())
def test_all_that_is_printed_comes_out_once_and_in_order(chunks, data):
    """However its bytes are cut on the way, and whatever is overwritten."""
    output, pieces, now_s = Printed(), [], 0.0
    whole = {"stdout": b"", "stderr": b""}
    for stream, chunk in chunks:
        encoded = chunk.encode("utf-8", "replace")
        whole[stream] += encoded
        cut = data.draw(st.integers(0, len(encoded)))
        for part in (encoded[:cut], encoded[cut:]):
            pieces += output.take(stream, part)
            now_s += 1.5
            pieces += output.due(now_s)
    pieces += output.end()
    for stream, want in whole.items():
        assert shown(text(pieces, stream).encode()) == shown(want)
    assert output.unkept == 0


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
    assert kept <= limit + printed.LAST_BYTES + 6
    assert output.size == sum(sizes)
    assert 0 <= output.unkept <= max(0, sum(sizes) - limit)
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
    assert [each.text for each in output.due(0.0)] == ["one\n"]
    assert output.due(1.0) == []
    output.take("stdout", b"o")
    assert [each.text for each in output.end()] == ["two"]


def test_a_line_that_has_no_end_goes_out_after_a_while_and_the_rest_of_it_later():
    output = Printed()
    output.take("stdout", "loading €".encode()[:-1])
    assert output.due(0.0) == []
    assert text(output.due(printed.UNFINISHED_S)) == "loading "  # and no part of a character
    output.take("stdout", "€".encode()[-1:] + b"\n")
    assert text(output.due(printed.UNFINISHED_S)) == "€\n"


def test_a_character_that_ends_just_after_a_piece_is_not_cut():
    output = Printed()
    data = b"x" * (printed.PIECE_BYTES - 2) + "€".encode()
    pieces = output.take("stdout", data[: printed.PIECE_BYTES])  # as the pipe gave it
    pieces += output.take("stdout", data[printed.PIECE_BYTES :]) + output.end()
    assert text(pieces).encode() == data


def test_a_progress_bar_is_what_it_shows_at_last():
    output, pieces = Printed(limit_bytes=10_000), []
    for percent in range(10_001):
        pieces += output.take("stderr", b"\r%d%%|###" % percent)
    assert pieces == []
    pieces = [*output.due(0.0), *output.due(5.0)]
    assert text(pieces, "stderr") == "\r10000%|###"
    pieces = [*output.take("stderr", b"\rdone\r\nmore\r\n"), *output.due(6.0)]
    assert text(pieces, "stderr") == "\rdone\r\nmore\r\n"
    assert output.unkept == 0


def test_a_line_of_ten_megabytes_comes_in_pieces_and_the_end_of_it_is_kept():
    output, pieces = Printed(limit_bytes=100_000), []
    for _ in range(160):
        pieces += output.take("stdout", b"x" * 65_536)
    pieces += [*output.take("stdout", b"END\n"), *output.end()]
    assert text(pieces).endswith("xEND\n")
    assert len(text(pieces)) == 100_000 + printed.LAST_BYTES
    assert output.unkept == 160 * 65_536 + 4 - len(text(pieces))


def test_bytes_that_are_no_text_are_told_apart_from_text_cut_in_two():
    output = Printed()
    pieces = output.take("stdout", b"\xff\x00\xe2\x82")
    pieces += output.take("stdout", b"\xac\xe2\x82") + output.end()
    assert text(pieces) == "\ufffd\x00€\ufffd"


def test_over_the_limit_there_is_one_notice_at_once_and_the_last_lines_at_the_end():
    output = Printed(limit_bytes=10)
    pieces = output.take("stdout", b"0123456789abc")
    assert text(pieces) == "0123456789"
    assert text(pieces, AGENT).startswith("over 10 bytes")
    for number in range(10_000):
        assert output.take("stderr", b"line %d\n" % number) == []
    pieces = output.end()
    assert text(pieces, "stdout") == "abc"
    kept = text(pieces, "stderr")
    assert (kept[:5], kept[-10:]) == ("line ", "line 9999\n")
    assert text(pieces, AGENT) == f"{output.unkept} bytes of output were not kept"
    assert output.size == 13 + len(kept) + output.unkept


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
