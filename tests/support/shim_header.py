"""The header of the shim in C, made from `worker_agent/protocol.py`: that module is the one place.

`python -m tests.support.shim_header --write` makes it anew, `--check` fails if it is another one.
"""

import enum
from collections.abc import Iterator
from pathlib import Path

from tests.support import made_pages

from trunkline.worker_agent import protocol, shim

HEADER = Path(__file__).parents[2] / "services" / "worker-agent" / "shim" / "protocol.h"


def rendered() -> str:
    """Return the header as it should be."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "/* Made from protocol.py by `make docs`: change that. */"
    yield "#ifndef PROTOCOL_H"
    yield "#define PROTOCOL_H"
    yield ""
    yield "enum {"
    for name, value in _numbers().items():
        yield f"    {name} = {value},"
    yield "};"
    yield from _enum(protocol.Kind, "KIND", "kind")
    yield from _enum(protocol.Step, "STEP", "step")
    yield from _enum(protocol.HelloFlag, "HELLO", "hello_flag")
    yield from _enum(protocol.RecipeFlag, "RECIPE", "recipe_flag")
    yield ""
    yield "#endif"


def _numbers() -> dict[str, int]:
    return {
        "PROTOCOL_VERSION": protocol.VERSION,
        "RECIPES": protocol.RECIPES,
        "FRAME_MAX_BYTES": protocol.FRAME_MAX_BYTES,
        "BODY_MIN": protocol.BODY_MIN,
        "DESCRIPTORS_MAX": protocol.DESCRIPTORS_MAX,
        "EXITED_FIELDS": protocol.EXITED_FIELDS,
        "ANSWER_MAX_BYTES": 8 * protocol.EXITED_FIELDS,
        "EXIT_DONE": shim.EXIT_DONE,
        "EXIT_AGENT_LOST": shim.EXIT_AGENT_LOST,
    }


def _enum(members: type[enum.IntEnum | enum.IntFlag], prefix: str, tag: str) -> Iterator[str]:
    yield ""
    yield f"enum {tag} {{"
    for each in members:
        yield f"    {prefix}_{each.name} = {each.value},"
    yield "};"


def main() -> None:
    """Write the header, or compare it."""
    made_pages.settle(HEADER, rendered(), name="shim/protocol.h", source="protocol.py")


if __name__ == "__main__":
    main()
