"""What docs/ says of specs that follows from the code: the table of all fields, and the schema.

`python -m tests.support.spec_pages --write` writes them, `--check` fails if they are others.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
from tests.support import made_pages, spec_schema

from trunkline.contracts import spec, spec_kinds
from trunkline.contracts.spec_sections import Effect, Field, Section, section_of
from trunkline.coordinator.core import admission

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "pipeline-spec.md"
SCHEMA = DOCS / "pipeline-spec.schema.json"
BEGIN = "<!-- made from contracts/spec_tables.py by `make docs` -->"

STRUCTS: dict[str, type[msgspec.Struct]] = {
    "spec": spec.PipelineSpec,
    "transform": spec.Transform,
    "secret": spec.Secret,
    "parallelism_spec": spec.Parallelism,
    "speculation": spec.Speculation,
    "input": spec.Input,
    "pfs": spec.PfsInput,
    "trigger": spec.Trigger,
    "cron": spec.CronInput,
    "resources": spec.Resources,
    "gpu": spec.Gpu,
    "scheduling_spec": spec.Scheduling,
    "toleration": spec.Toleration,
    "metadata": spec.Metadata,
    "datum_set_spec": spec.DatumSets,
}
"""What the sections become; `pipeline` and `project` are only there to hold a name."""


def pages() -> dict[Path, str]:
    """Return the files as they should be."""
    lines = [line for section in spec_schema.sections() for line in _table(section)]
    page = made_pages.between(PAGE.read_text(), BEGIN, "\n".join(lines) + "\n")
    return {PAGE: page, SCHEMA: json.dumps(spec_schema.schema(), indent=1) + "\n"}


def _table(section: Section) -> Iterator[str]:
    title = "The spec itself" if section.name == "spec" else f"`{section.name}`"
    yield from ("", f"### {title}", "", section.about, "")
    yield from ("| field | value | if not set | what for | here |", "|---|---|---|---|---|")
    for each in section.fields:
        cells = (
            _names(each),
            _value(each),
            _default(section, each),
            each.about,
            _here(section, each),
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _key(section: Section, field: Field) -> str:
    return field.name if section.name == "spec" else f"{section.name}.{field.name}"


def _names(field: Field) -> str:
    return ", ".join(f"`{name}`" for name in (field.name, *field.also))


def _value(field: Field) -> str:
    match field.kind:
        case spec_kinds.Anything():
            return "-"
        case Section():
            return f"`{field.kind.name}`"
        case spec_kinds.ListOf(item=Section() as item):
            return f"array of `{item.name}`"
        case spec_kinds.Later() | spec_kinds.ListOf(item=spec_kinds.Later()):
            return "array of `input`"
        case _:
            return field.kind.said.removeprefix("a ").removeprefix("an ")


def _default(section: Section, field: Field) -> str:
    if field.required:
        return "required"
    struct = STRUCTS.get(section.name)
    defaults = (
        {each.name: each.default for each in msgspec.structs.fields(struct)} if struct else {}
    )
    value = defaults.get(field.attribute or "")
    if isinstance(value, (bool, int, float)) and value:
        return str(value)
    return f"`{value}`" if isinstance(value, str) and value else ""


def _here(section: Section, field: Field) -> str:
    key = _key(section, field)
    if key in admission.NOT_YET:
        return f"**not yet**: {admission.NOT_YET[key]}"
    above = [
        _key(each, holder)
        for each in spec_schema.sections()
        for holder in each.fields
        if section_of(holder.kind) is section
    ]
    if above and all(each in admission.NOT_YET for each in above):
        return f"not yet, as `{above[0]}`"
    match field.effect:
        case Effect.TAKEN:
            return "takes effect"
        case Effect.KUBERNETES:
            return "not on one machine"
        case Effect.UNUSED:
            return f"no effect: {field.why}"
        case Effect.REFUSED:
            return f"**refused**: {field.why}"


def main() -> None:
    for path, wanted in pages().items():
        made_pages.settle(path, wanted, name=f"docs/{path.name}", source="contracts/spec_tables.py")


if __name__ == "__main__":
    main()
