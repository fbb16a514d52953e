import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.cli import loglines, logs
from trunkline.cli.loglines import Lines
from trunkline.cli.options import Asked
from trunkline.contracts.api import LogEntry
from trunkline.contracts.messages import LogLine

JOB = "0" * 32


def entry(text: str, *, stream: str = "stdout", index: int = 0, attempt: int = 1) -> LogEntry:
    line = LogLine(
        worker="w1",
        datum="d",
        index=index,
        stream=stream,
        text=text,
        at_ns=1_700_000_000_123_000_000,
        attempt=attempt,
    )
    return LogEntry(sequence=1, job=JOB, line=line)


def texts(lines):
    return [each.text for each in lines]


@given(st.text(alphabet="ab\n", max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_lines_are_the_same_however_they_were_cut(whole, cuts):
    lines, found, places = Lines(), [], sorted({0, len(whole), *(min(c, len(whole)) for c in cuts)})
    for begin, end in itertools.pairwise(places):
        found += texts(lines.take(entry(whole[begin:end])))
        found += texts(lines.take(entry("x\n", stream="stderr")))
    found += texts(lines.looked(end=True))
    assert [each for each in found if each != "x"] == whole.removesuffix("\n").split("\n")[
        : len(whole) or 0
    ] or whole == ""


def test_a_line_without_an_end_is_shown_when_nothing_more_of_it_has_come():
    lines = Lines()
    assert texts(lines.take(entry("loading"))) == []
    assert texts(lines.looked()) == []
    assert texts(lines.looked()) == ["loading"]
    assert texts(lines.take(entry(" done\n"))) == [" done"]


def test_a_line_that_never_ends_is_not_held_for_ever():
    lines = Lines()
    held = texts(line for _ in range(100) for line in lines.take(entry("x" * 16_384)))
    assert len(held) == 100 // 17
    assert all(len(each) > loglines.HELD_CHARS for each in held)


def test_lines_that_have_no_end_are_not_all_held_and_each_is_shown_once():
    lines = Lines()
    shown = [text for at in range(2000) for text in texts(lines.take(entry(f"{at}", index=at)))]
    assert len(shown) == 2000 - loglines.HELD_LINES
    shown += texts(lines.looked(end=True))
    assert shown == [f"{at}" for at in range(2000)]


def test_attempts_and_streams_are_not_mixed():
    lines = Lines()
    assert texts(lines.take(entry("a"))) == []
    assert texts(lines.take(entry("b\n", attempt=2))) == ["b"]
    assert texts(lines.take(entry("c\n", stream="stderr"))) == ["c"]
    assert texts(lines.take(entry("d\n", index=1))) == ["d"]
    assert texts(lines.take(entry("e\n"))) == ["ae"]


def shown(text, *, attempt=1, timestamps=False, terminal=False):
    (line,) = Lines().take(entry(text, attempt=attempt))
    return loglines.shown(line, timestamps=timestamps, terminal=terminal)


def test_a_line_says_whose_it_is():
    assert shown("hello\n") == "[00000000 0 stdout] hello"
    assert shown("hello\n", attempt=3) == "[00000000 0/3 stdout] hello"
    at = "2023-11-14T22:13:20.123Z "
    assert shown("hello\n", timestamps=True) == f"{at}[00000000 0 stdout] hello"


def test_of_a_progress_bar_a_terminal_gets_the_last_state_and_a_pipe_all():
    bar = "\r10%\r20%\r"
    assert shown(f"{bar}\n", terminal=True) == "[00000000 0 stdout] 20%"
    assert shown(f"{bar}\n") == f"[00000000 0 stdout] {bar}"


def test_a_terminal_gets_colours_and_no_other_commands():
    hostile = "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J \x9b1A\n"
    assert shown(hostile, terminal=True) == (
        "[00000000 0 stdout] \x1b[31mred\x1b[0m \\x1b]0;title\\x07 \\x1b[2J \\x9b1A"
    )
    assert shown(hostile).endswith(hostile.rstrip("\n"))


@pytest.mark.parametrize(
    "colour", ["", "0", "1", "31", "01;31", "39;49", "97;100", "38;5;208", "1;38;2;9;8;7;48;5;8"]
)
def test_colours_and_bold_reach_a_terminal(colour):
    assert shown(f"\x1b[{colour}ma\x1b[0m\n", terminal=True).endswith(f" \x1b[{colour}ma\x1b[0m")


@pytest.mark.parametrize(
    "hiding", ["8", "08", "1;8", "31;8", "38;5;1;8", "38;8", "5", "2", "7", "108", "38;2;1;2"]
)
def test_what_may_hide_a_text_does_not(hiding):
    assert shown(f"a\x1b[{hiding}mb\n", terminal=True).endswith(f" a\\x1b[{hiding}mb")


PRINTED = (
    "progress 1\rdone a\x1b[8mhid\x1b[0m \x1b[31mred \x1b]8;;http://evil.example\x07b\x9b2J\u202e"
)


def through(reading: int, writing: int, printed: str, monkeypatch) -> bytes:
    with open(writing, "w", encoding="ascii") as out, monkeypatch.context() as patched:
        patched.setattr("sys.stdout", out)
        show = logs._Show(Asked(home=None, output="table"), logs.Wanted())
        show.take([entry(f"{printed}\n")])
        out.flush()
        found = os.read(reading, 4096)
    os.close(reading)
    return found


def test_a_pipe_gets_the_bytes_as_they_were_printed_in_any_locale(monkeypatch):
    printed = f"{PRINTED} é"
    found = through(*os.pipe(), printed, monkeypatch)
    assert found == f"[00000000 0 stdout] {printed}\n".encode()


def test_a_terminal_gets_nothing_that_commands_it(monkeypatch):
    found = through(*os.openpty(), PRINTED, monkeypatch)
    assert found == (
        b"[00000000 0 stdout] done a\\x1b[8mhid\x1b[0m \x1b[31mred "
        b"\\x1b]8;;http://evil.example\\x07b\\x9b2J\\u202e\x1b[0m\r\n"
    )


def test_a_colour_ends_with_its_line():
    assert shown("\x1b[31mred\n", terminal=True).endswith(" \x1b[31mred\x1b[0m")
    assert shown("\x1b[31mred\x1b[m.\n", terminal=True).endswith(" \x1b[31mred\x1b[m.")


def test_a_terminal_is_not_told_to_turn_the_direction_of_writing():
    assert shown("a\u202egnp.\u2066b\n", terminal=True).endswith("a\\u202egnp.\\u2066b")
    assert shown("a\u202eb\n").endswith("a\u202eb")


def test_a_line_without_an_end_is_one_of_the_last_ones(capsys):
    show = logs._Show(Asked(home=None, output="table"), logs.Wanted(follow=True, tail=2))
    show.take([entry("1\n2\n3\n4")])
    show.looked()
    show.looked()
    show.take([entry("5\n")])
    printed = [line.rpartition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["3", "4", "5"]
