"""What something costs, counted: the same on every machine, however much else it has to do."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass
class Cost:
    """How many of Python's instructions were carried out; what the interpreter does inside of one is not seen."""

    count: int = 0


@contextmanager
def operations() -> Iterator[Cost]:
    """Count what runs in functions that are entered, or tasks that are resumed, inside."""
    cost = Cost()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        cost.count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield cost
    finally:
        sys.settrace(before)
