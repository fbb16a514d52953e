"""What others have written, as it may reach a terminal.

A control character could move the cursor, set titles, answer for the user; one of those that turn the direction
of writing makes a text read as another one.
"""

import re

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Return a text with its control characters as text; tabs and ends of lines stay."""
    return _CONTROLS.sub(lambda found: repr(found.group())[1:-1], text)
