"""What others have written, as it may reach a terminal.

A control character could move the cursor, set titles, answer for the user; one of those that turn the direction
of writing, or end a line where no end is seen, makes a text read as another one. A lone surrogate, which a file's
name that is no UTF-8 brings, could not be written at all.
"""

import re

_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def harmless(text: str) -> str:
    """Return a text with its control characters as text; tabs and ends of lines stay."""
    return _CONTROLS.sub(lambda found: repr(found.group())[1:-1], text)


def line(text: str) -> str:
    """Return a text as a part of one line: ends of lines and tabs, too, are shown as text, so it makes no line or column."""
    return harmless(text).replace("\n", "\\n").replace("\t", "\\t")


def harmless_json(text: str) -> str:
    """Return JSON that means the same, with such characters as escapes: they stand within strings only."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def is_undecoded(text: str) -> bool:
    """Return whether a text holds bytes that are no UTF-8, as Python hands them on from a name or an argument."""
    return any("\ud800" <= each <= "\udfff" for each in text)
