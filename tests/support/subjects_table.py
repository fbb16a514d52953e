"""The tables in docs/subjects.md, made from `contracts/subjects.py`: that module is the one place.

`python -m tests.support.subjects_table --write` puts them into the page, `--check` fails if the page
has others.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support import made_pages

from trunkline.contracts import subjects
from trunkline.contracts.wards import Ward, Wards

PAGE = Path(__file__).parents[2] / "docs" / "subjects.md"
BEGIN = "<!-- made from contracts/subjects.py by `make docs` -->"

_SECTION = re.compile(r"^# --- (.*?) -+$")


def rendered() -> str:
    """Return the page as it should be."""
    return made_pages.between(PAGE.read_text(), BEGIN, tables())


def tables() -> str:
    """Return a table per section of the module."""
    lines: list[str] = []
    section = ""
    for title, name, wire, what in entries():
        if title != section:
            section = title
            lines += ["", f"### {title[:1].upper()}{title[1:]}", ""]
            lines += ["| in the code | on the wire | what |", "|---|---|---|"]
        lines.append(f"| `{name}` | `{wire}` | {what} |")
    return "\n".join(lines) + "\n\n"


def entries() -> Iterator[tuple[str, str, str, str]]:
    """Yield (section, name in the code, subject or name on the wire, what it is)."""
    source = inspect.getsource(subjects)
    titles = {
        number: found.group(1)
        for number, line in enumerate(source.splitlines(), 1)
        if (found := _SECTION.match(line))
    }
    body = ast.parse(source).body
    for node, following in zip(body, [*body[1:], None], strict=True):
        section = max((line for line in titles if line < node.lineno), default=0)
        if not section:
            continue
        title = titles[section]
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            value = getattr(subjects, name)
            if isinstance(value, str):
                what = _sentence(_text(following))
                every = "The filter for all of them." if value[-1] in "*>" else ""
                yield title, name, value, what or every
        elif isinstance(node, ast.FunctionDef):
            parameters = [argument.arg for argument in node.args.args]
            if "subject" in parameters or node.name.startswith("_"):  # it builds none for others
                continue
            wire = _called(getattr(subjects, node.name), parameters)
            arguments = ", ".join(parameters)
            text = _sentence(ast.get_docstring(node) or "")
            what = text.removeprefix("Return the ").removeprefix("Return ")
            yield title, f"{node.name}({arguments})", wire, what[:1].upper() + what[1:]


def _called(function: Callable[..., object], parameters: list[str]) -> str:
    """Call it with values that can be told apart, and put their names where they come out."""
    kinds = inspect.signature(function).parameters
    values: dict[str, str | int | Ward] = {}
    for position, name in enumerate(parameters):
        values[name] = 1111 * (position + 1) if kinds[name].annotation is int else f"xx{name}xx"
    if "ward" in values:
        values["ward"] = Ward("xxpipelinexx", "xxxxxxwardxxxxxx")
    if "wards" in values:
        wards = Wards("no real data key, only long enough")
        return str(function(wards)).replace(wards.hidden, "<hidden>")
    if "job" in values:
        values["job"] = "a" * 32
    wire = str(function(*values.values()))
    for name, value in values.items():
        shown = "<pipeline>.<ward>" if name == "ward" else f"<{name}>"
        wire = wire.replace(str(value), shown)
    return wire


def _text(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return ""


def _sentence(text: str) -> str:
    """Return the first paragraph on one line, fit for a cell."""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


def main() -> None:
    made_pages.settle(PAGE, rendered(), name="docs/subjects.md", source="contracts/subjects.py")


if __name__ == "__main__":
    main()
