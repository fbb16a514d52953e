"""Numbers as a message may bring them: anybody may have written it, and a number in JSON may have any number of digits.

One that is out of bounds is no number of the kind, so the message that holds it cannot be read: better than
a sum, a division or a date that fails wherever it is used.
"""

from typing import Annotated

import msgspec

MOST = 2**53
"""No figure is larger, nor any negative: all readers hold those exactly, and sums of them stay numbers."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=MOST)]

Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A time of the wall clock, since the epoch: until the year 2262. 0 often means that there is none."""

ExitCode = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**32)]
"""As systems tell it, signed or not."""
