"""Pages that are made from the code, whole or between two marks: how they are put in, written and compared."""

import sys
from pathlib import Path

END = "<!-- end -->"


def between(page: str, begin: str, made: str) -> str:
    """Return a page with what was made between its marks, in place of what was there."""
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(END)
    return f"{before}{begin}\n{made}{END}{after}"


def settle(path: Path, wanted: str, *, name: str, source: str) -> None:
    """Write a page if the command line says `--write`; else end with a sentence if it is another one.

    Args:
        path: Where it stands.
        wanted: What it should be.
        name: What it is called in sentences.
        source: What it is made from.
    """
    if "--write" in sys.argv:
        path.write_text(wanted)
    elif not path.exists() or path.read_text() != wanted:
        sys.exit(f"{name} does not fit {source}: run `make docs`")
    else:
        sys.stdout.write(f"{name} fits {source}\n")
