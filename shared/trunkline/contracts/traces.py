"""Trace context, in the form of the W3C: `00-<trace, 32 hex digits>-<span, 16>-<flags, 2>`.

A trace begins where somebody commits or publishes a spec: with theirs, or one that is made. Jobs bear it
over the whole DAG, messages carry it as a header, and each attempt at a datum is a span of its own in it. We
record no spans ourselves: a command's own tracing joins, and so can whoever reads logs. `tracestate` is not
carried.
"""

import hashlib
import re

HEADER = "traceparent"
VARIABLE = "TRACEPARENT"

_FORM = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
)
_SAMPLED = "01"
"""Of traces that are made here: a command's own library would record nothing else."""


def parsed(text: str) -> str:
    """Return it in the form of version 00, of which later ones are extensions; empty if it is none."""
    found = _FORM.match(text)
    if found is None or (
        len(text) > found.end() and (text[:2] == "00" or text[found.end()] != "-")
    ):
        return ""
    return f"00-{'-'.join(found.groups())}"


def made(trace: str, span: str) -> str:
    """Return a new one of these hex digits."""
    return f"00-{trace}-{span}-{_SAMPLED}"


def of_set(identifier: str) -> str:
    """Return the trace of a job set that nobody has given one: always the same of the same id."""
    digits = hashlib.sha256(f"trace/{identifier}".encode()).hexdigest()
    return made(digits[:32], digits[32:48])


def child(parent: str, span: str) -> str:
    """Return another span of the same trace; none if there is none."""
    return f"{parent[:36]}{span}{parent[52:]}" if parent else ""


def trace(parent: str) -> str:
    """Return the trace's digits."""
    return parent[3:35]
