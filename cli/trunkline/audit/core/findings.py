"""What an audit says: one finding for each property, and whether it holds."""

import enum
from collections.abc import Sequence

import msgspec

SHOWN = 5
"""Examples that a finding names."""


class Verdict(enum.StrEnum):
    """Whether a property holds."""

    OK = "ok"
    BROKEN = "BROKEN"
    UNKNOWN = "unknown"
    """What would tell is gone, in good order: an old commit's record, say."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One property of a job."""

    check: str
    verdict: Verdict
    text: str
    """What was found, as a sentence."""
    examples: tuple[str, ...] = ()
    """Of what is wrong, the first ones."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found of one job."""

    pipeline: str
    job: str
    state: str
    datums: int
    outcomes: int
    lost: int
    twice: int
    retried: int
    """Attempts beyond each datum's first, as its outcome counts them."""
    files: int
    """Of the output, each read to its end."""
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """What does not hold."""
        return tuple(each for each in self.findings if each.verdict is Verdict.BROKEN)

    @property
    def unknown(self) -> tuple[Finding, ...]:
        """What cannot be told any more."""
        return tuple(each for each in self.findings if each.verdict is Verdict.UNKNOWN)


def judged(check: str, text: str, wrong: Sequence[str]) -> Finding:
    """Return a finding that holds unless something is wrong; `text` is said in either case."""
    verdict = Verdict.BROKEN if wrong else Verdict.OK
    return Finding(check=check, verdict=verdict, text=text, examples=tuple(wrong[:SHOWN]))


def broken(check: str, text: str) -> Finding:
    """Return a finding that does not hold."""
    return Finding(check=check, verdict=Verdict.BROKEN, text=text)


def unknown(check: str, text: str) -> Finding:
    """Return a finding on which nothing can be said."""
    return Finding(check=check, verdict=Verdict.UNKNOWN, text=text)
