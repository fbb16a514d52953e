"""The report: tables of what was noted, of what the API server was asked, and of the scaler's rounds."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.cluster import audit
from bench.cluster.audit import Request

PHASES = ("up", "quiet", "events")
KINDS = ("join", "uncordon", "leave", "cordon")


@dataclass(frozen=True)
class Change:
    """Something that happened to a node, between two moments at which nothing was to be done."""

    kind: str
    node: str
    since_ns: int
    until_ns: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """All that was noted."""

    marks: Sequence[int]
    """When each phase began, and the last one ended."""
    cpu_s: Sequence[float]
    """The scaler's, at these moments."""
    changes: Sequence[Change]
    pulls_s: Sequence[float]
    decisions_ns: Sequence[int]


class Report:
    """Puts them together.

    Args:
        found: What was noted.
        requests: All that the API server has answered.
        rounds: The scaler's: when it began (ns), seconds, CPU seconds.
        user: As whom the scaler asks.
    """

    def __init__(
        self,
        found: Found,
        requests: Sequence[Request],
        rounds: Sequence[tuple[int, float, float]],
        user: str,
    ) -> None:
        self._found, self._requests, self._rounds, self._user = found, requests, rounds, user

    def lines(self) -> list[str]:
        """Return Markdown."""
        load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
        pulls = self._found.pulls_s
        return [
            f"load at the end: {load}",
            "",
            *_table(
                "phase, s, rounds, wall ms p50, p95, CPU ms p50, p95, the scaler's CPU s",
                self._phases(),
            ),
            *_table("phase, requests", self._asked()),
            *_table(
                "a node's, events, decided s p50, p95, last pod made, , last pod deleted, ",
                self._events(),
            ),
            f"a node's join to the first pull of its worker, s: {', '.join(_spread(pulls))}",
            f"  all: {', '.join(f'{each:.2f}' for each in pulls)}",
        ]

    def _spans(self) -> Iterator[tuple[str, int, int]]:
        marks = self._found.marks
        yield from zip(PHASES, marks, marks[1:], strict=False)

    def _phases(self) -> Iterator[list[str]]:
        cpu_s = self._found.cpu_s
        for number, (name, since, until) in enumerate(self._spans()):
            taken = [each for each in self._rounds if since <= each[0] < until]
            wall, cpu = ([1e3 * each[n] for each in taken] for n in (1, 2))
            used = f"{cpu_s[number + 1] - cpu_s[number]:.2f}"
            seconds = f"{(until - since) / 1e9:.0f}"
            yield [name, seconds, str(len(taken)), *_spread(wall), *_spread(cpu), used]

    def _asked(self) -> Iterator[list[str]]:
        ours = [each for each in self._requests if each.user == self._user]
        for name, since, until in self._spans():
            counted = audit.by_verb(audit.between(ours, since, until))
            yield [name, ", ".join(f"{many} {what}" for what, many in counted.items()) or "none"]

    def _events(self) -> Iterator[list[str]]:
        for kind in KINDS:
            of = [each for each in self._found.changes if each.kind == kind]
            delays = [self._delays(each) for each in of]
            cells = [cell for column in zip(*delays, strict=True) for cell in _spread(column)]
            yield [kind, str(len(of)), *cells]

    def _delays(self, change: Change) -> tuple[float | None, float | None, float | None]:
        """Return seconds from the change to the decision, and to the last pod made, and deleted."""
        own = audit.between(self._requests, change.since_ns, change.until_ns)
        written = [
            each.asked_ns
            for each in own
            if each.name == change.node
            and each.user != self._user
            and each.resource.startswith("nodes")
        ]
        # a node that joins counts once it has said that it is ready, which it says last
        happened_ns = written[-1] if change.kind == "join" else written[0]
        later = [each for each in self._found.decisions_ns if happened_ns <= each < change.until_ns]

        def last(verb: str) -> float | None:
            done = [
                each.done_ns
                for each in own
                if (each.user, each.verb, each.resource) == (self._user, verb, "pods")
            ]
            return (max(done) - happened_ns) / 1e9 if done else None

        return (later[0] - happened_ns) / 1e9 if later else None, last("create"), last("delete")


def _spread(values: Iterable[float | None]) -> tuple[str, str]:
    """Return p50 and p95."""
    found = sorted(each for each in values if each is not None)
    if not found:
        return "-", "-"
    p95 = found[min(len(found) - 1, int(len(found) * 0.95))]
    return f"{found[len(found) // 2]:.3f}", f"{p95:.3f}"


def _table(heads: str, rows: Iterable[Sequence[str]]) -> list[str]:
    names = heads.split(", ")
    lines = [names, ["---"] * len(names), *rows]
    return [*(f"| {' | '.join(each)} |" for each in lines), ""]
