"""Numbers with units, as specs write them: durations as Go does, quantities as Kubernetes does."""

import math
import re
from decimal import Decimal, InvalidOperation

_MOST_CHARS = 40

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s)", re.ASCII)
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)([A-Za-z]{0,3})", re.ASCII)
_PARTS = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
_TIMES = {
    "": Decimal(1),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)},
    "K": Decimal(1000),
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}


def duration_s(value: str) -> float | None:
    """Return the positive seconds in `5m`, `300s`, `1h30m` or `0.5s`; None for anything else."""
    if len(value) > _MOST_CHARS:
        return None
    total, position = 0.0, 0
    for match in _DURATION.finditer(value):
        if match.start() != position:
            return None
        total += float(match[1]) * _UNIT_S[match[2]]
        position = match.end()
    return total if position == len(value) and 0 < total < math.inf else None


def cores(value: str) -> float | None:
    """Return the number of cores in `2`, `0.5` or `500m`; None for anything else."""
    number = _number(value, {**_PARTS, **_TIMES})
    return None if number is None else float(number)


def size_bytes(value: str) -> int | None:
    """Return the bytes in `64M` (powers of 1000), `64Mi` (of 1024) or `1.5G`; None for anything else.

    A `B` behind them is taken too, and a part of a byte is a whole one.
    """
    number = _number(value.removesuffix("B"), _TIMES)
    return None if number is None else math.ceil(number)


def _number(value: str, units: dict[str, Decimal]) -> Decimal | None:
    """Return a number that is not negative, with its unit taken into account."""
    match = _QUANTITY.fullmatch(value) if len(value) <= _MOST_CHARS else None
    if match is None or match[2] not in units:
        return None
    try:
        number = Decimal(match[1]) * units[match[2]]
    except InvalidOperation:
        return None
    return number if number >= 0 else None
