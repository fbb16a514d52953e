"""Log records are JSON lines when piped, and lines for people on a terminal."""

import io
import json
import logging
import os
from collections.abc import Iterator

import msgspec
import pytest

from trunkline.runtime import log_keys, logs, terminals, tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def said(stream: io.StringIO) -> str:
    logs.configure("worker-agent", stream=stream, pipeline="p", worker="p-1")
    with tracing.within(f"00-{TRACE}-b7ad6b7169203331-01"):
        logging.getLogger("x").warning("attempt failed", extra={"job": "j", "index": 3})
    return stream.getvalue()


def test_a_record_is_one_json_line_with_the_process_and_the_trace_it_belongs_to() -> None:
    (line,) = said(io.StringIO()).splitlines()
    found = json.loads(line)
    assert found.pop("at").endswith("+00:00")
    assert found == {
        "level": "warning",
        "service": "worker-agent",
        "message": "attempt failed",
        "pipeline": "p",
        "worker": "p-1",
        "job": "j",
        "index": 3,
        "trace": TRACE,
    }
    assert found.keys() <= {**log_keys.STANDARD, **log_keys.KEYS}.keys()


def test_a_terminal_gets_a_line_for_people() -> None:
    (line,) = said(Terminal()).splitlines()
    assert line[13:] == "worker-agent warning: attempt failed  job=j index=3"


def test_what_was_raised_stays_on_the_line() -> None:
    stream = io.StringIO()
    logs.configure("coordinator", stream=stream)
    try:
        int("no")
    except ValueError:
        logging.getLogger("x").exception("request failed", extra={"verb": "job.get"})
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["error"].endswith("with base 10: 'no'")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "lines"])
def test_what_others_have_named_commands_no_terminal(stream: io.StringIO) -> None:
    hostile = "a\x1b[2J\u202e\x9b1A"
    logs.configure("coordinator", stream=stream)
    logging.getLogger("x").warning("path refused", extra={"reason": hostile})
    assert terminals.harmless(stream.getvalue()) == stream.getvalue()
    if not stream.isatty():
        assert json.loads(stream.getvalue())["reason"] == hostile


def test_what_extra_brings_overwrites_no_key_of_the_record_itself() -> None:
    stream = io.StringIO()
    logs.configure("coordinator", stream=stream)
    forged = dict.fromkeys(("at", "level", "service", "error", "trace"), "forged")
    logging.getLogger("x").info("said", extra=forged)
    found = json.loads(stream.getvalue())
    assert (found["level"], found["service"], "error" in found) == ("info", "coordinator", False)
    assert (found["level_"], found["service_"], found["error_"]) == ("forged",) * 3
    assert found["at"] != "forged"


def test_whatever_a_record_holds_it_is_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    logs.configure("coordinator", stream=stream)
    within: list[object] = []
    within.append(within)
    unfit = (
        os.fsdecode(b"a\xff"),
        [os.fsdecode(b"b\xff")],
        1 << 70,
        within,
        b"\xff",
        {1: object()},
    )
    for each in unfit:
        logging.getLogger("x").warning("of %s", each, extra={"reason": each, "index": 3})
    wrong, arguments = "%d of %s", ("no",)
    logging.getLogger("x").warning(wrong, *arguments)
    *lines, last = map(msgspec.json.decode, stream.getvalue().splitlines())
    assert len(lines) == len(unfit)
    for line in lines:
        assert (line["level"], line["service"], line["index"]) == ("warning", "coordinator", 3)
    assert (lines[0]["message"], lines[0]["reason"]) == (r"of a\udcff", r"a\udcff")
    assert last["message"] == "%d of %s ('no',)"
    assert capsys.readouterr() == ("", "")


def test_what_others_have_named_makes_no_line_of_its_own_for_people() -> None:
    stream = Terminal()
    logs.configure("coordinator", stream=stream)
    logging.getLogger("x").warning("refused", extra={"reason": "x\n12:00:00 coordinator all good"})
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(r"reason=x\n12:00:00 coordinator all good")
