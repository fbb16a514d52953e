"""How many workers a spec means: the number, which the scaler acts on and a dry run tells."""

from decimal import ROUND_FLOOR, Decimal

from trunkline.contracts.spec import Parallelism


def wanted(parallelism: Parallelism, eligible: int, *, default: float, most: int) -> int:
    """Return the most workers that a spec means: at least 1, but for a constant.

    Args:
        parallelism: `constant` or `coefficient`, or neither.
        eligible: How many nodes count.
        default: The coefficient where the spec sets neither.
        most: The installation's own limit for one pipeline.
    """
    if parallelism.constant is not None:
        return min(most, parallelism.constant)
    coefficient = default if parallelism.coefficient is None else parallelism.coefficient
    return min(most, by_nodes(coefficient, eligible))


def by_nodes(coefficient: float, eligible: int) -> int:
    """Return max(1, floor(coefficient x eligible nodes))."""
    return max(1, int(exactly(coefficient, eligible).to_integral_value(rounding=ROUND_FLOOR)))


def exactly(coefficient: float, eligible: int) -> Decimal:
    """Return coefficient x eligible nodes.

    In decimal, since 0.29 x 100 is 29 to whoever wrote it, and 28.999999999999996 in binary.
    """
    return Decimal(repr(coefficient)) * eligible
