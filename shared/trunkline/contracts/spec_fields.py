"""What the tables of fields are written with: a function per effect, and the kinds that many fields have."""

from trunkline.contracts import quantities
from trunkline.contracts.spec_kinds import Anything, Flag, Kind, ListOf, Quantity, Text, Whole
from trunkline.contracts.spec_sections import Effect, Field

MOST_NUMBER = 2**53
"""Above it a number in JSON is not exact."""

TEXT, FLAG, TEXTS = Text(), Flag(), ListOf(Text())
CORES = Quantity(quantities.cores, "a number of cores such as 2, 0.5 or 500m", 100_000)
BYTES = Quantity(quantities.size_bytes, "a size such as 1.5G, 64Mi or a number of bytes", 2**60)
COUNT = Whole(0, MOST_NUMBER)


def taken(name: str, kind: Kind, about: str, **more: object) -> Field:
    """Return a field that takes effect everywhere."""
    return Field(name=name, kind=kind, about=about, **more)  # type: ignore[arg-type] # Field's own


def on_kubernetes(name: str, kind: Kind, about: str, **more: object) -> Field:
    """Return a field that takes effect on Kubernetes."""
    return taken(name, kind, about, effect=Effect.KUBERNETES, **more)


def unused(name: str, kind: Kind, why: str) -> Field:
    """Return a field that has no effect, and why that does no harm."""
    return Field(name=name, kind=kind, about="", effect=Effect.UNUSED, why=why, to=None)


def refused(name: str, why: str, kind: Kind | None = None, *also: str) -> Field:
    """Return a field that cannot have an effect, and what to do instead."""
    kind = kind or Anything()
    return Field(name=name, kind=kind, about="", effect=Effect.REFUSED, why=why, to=None, also=also)
