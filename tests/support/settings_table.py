"""The tables in docs/settings.md, made from the services' `Settings`: what stands below a field is what it means.

`python -m tests.support.settings_table --write` puts them into the page, `--check` fails if the page has others.
"""

import ast
import enum
import inspect
from pathlib import Path
from typing import Any

import msgspec
from tests.support import made_pages

from trunkline.coordinator import settings as coordinator
from trunkline.runtime.settings import PREFIX
from trunkline.scaler import settings as scaler
from trunkline.scaler.kubernetes import pod_settings
from trunkline.worker_agent import settings as worker_agent

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
BEGIN = "<!-- made from the services' settings.py by `make docs` -->"
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "The coordinator": coordinator.Settings,
    "The scaler": scaler.Settings,
    "The scaler on Kubernetes: what all worker pods have in common": pod_settings.PodSettings,
    "A worker agent": worker_agent.Settings,
}


def rendered() -> str:
    """Return the page as it should be."""
    return made_pages.between(PAGE.read_text(), BEGIN, tables())


def tables() -> str:
    """Return a table for each kind of process."""
    lines: list[str] = []
    for title, kind in SECTIONS.items():
        meanings = _meanings(kind)
        lines += ["", f"## {title}", "", "| variable | default | what |", "|---|---|---|"]
        lines += [
            f"| `{PREFIX}{each.name.upper()}` | {_default(each)} | {meanings[each.name]} |"
            for each in msgspec.structs.fields(kind)
        ]
    return "\n".join(lines) + "\n\n"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "must be set"
    value: Any = field.default
    match value:
        case None | "":
            return "unset"
        case bool():
            return f"`{str(value).lower()}`"
        case enum.Enum():
            return f"`{value.value}`"
        case float():
            return f"`{value:.10g}`"
        case _:
            return f"`{value}`"


def _meanings(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return field -> what stands below it; of several in a row without a line of their own, that of the last."""
    tree = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    waiting: list[str] = []
    for each in tree.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            waiting.append(each.target.id)
        elif isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant):
            text = " ".join(str(each.value.value).split()).replace("|", "\\|")
            found |= dict.fromkeys(waiting, text)
            waiting = []
    return found


def main() -> None:
    made_pages.settle(PAGE, rendered(), name="docs/settings.md", source="the services' settings")


if __name__ == "__main__":
    main()
