"""The tags of our images in the manifests: the project's version, which stands in pyproject.toml and nowhere else by hand.

`--write` puts them there, `--check` fails if one is another.
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2]
BASE = PROJECT / "manifests" / "base"
DEV = PROJECT / "manifests" / "overlays" / "dev"
FILES = (BASE / "kustomization.yaml", BASE / "settings.yaml", DEV / "settings.yaml")
_TAG = re.compile(r"(trunkline/[a-z-]+(?:, newTag: |:))([\w.-]+)")


def version() -> str:
    """Return the project's version."""
    found: str = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    return found


def tagged(text: str, tag: str) -> str:
    """Return a file's text with this tag for all of our images that have one there."""
    return _TAG.sub(rf"\g<1>{tag}", text)


def main() -> None:
    """Write the tags, or compare them."""
    for path in FILES:
        text = path.read_text()
        wanted = tagged(text, version())
        if "--write" in sys.argv:
            path.write_text(wanted)
        elif text != wanted:
            sys.exit(
                f"{path.relative_to(PROJECT)} names images of another version: run `make docs`"
            )


if __name__ == "__main__":
    main()
