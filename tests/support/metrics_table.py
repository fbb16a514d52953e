"""The tables in docs/metrics.md, made from `runtime/metric_names.py`: that module is the one place.

`python -m tests.support.metrics_table --write` puts them into the page, `--check` fails if the page
has others.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.support import made_pages

from trunkline.runtime import metric_names
from trunkline.runtime.metrics import COORDINATOR, EVERYBODY, SCALER, Metric, Whose

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
BEGIN = "<!-- made from runtime/metric_names.py by `make docs` -->"


def rendered() -> str:
    """Return the page as it should be."""
    return made_pages.between(PAGE.read_text(), BEGIN, tables())


def tables() -> str:
    """Return a table for each kind of process that has metrics."""
    lines: list[str] = []
    for title, found in sections():
        lines += ["", f"### {title}", "", "| metric | kind | unit | labels | what |"]
        lines += ["|---|---|---|---|---|"]
        lines += [_row(each) for each in found]
    lines += ["", "### Buckets", "", "| metric | upper bounds in seconds |", "|---|---|"]
    for each in metric_names.ALL:
        if each.buckets:
            lines.append(f"| `{each.name}` | {', '.join(f'{bound:g}' for bound in each.buckets)} |")
    return "\n".join(lines) + "\n\n"


def sections() -> Iterator[tuple[str, list[Metric]]]:
    """Yield (title, its metrics)."""
    leading = [each for each in metric_names.ALL if each.whose is Whose.LEADER]
    ours = [each for each in leading if each.name.startswith("trunkline_")]
    yield "The leading coordinator", [each for each in ours if COORDINATOR in each.components]
    yield "The leading scaler", [each for each in ours if SCALER in each.components]
    yield (
        "Each process about itself",
        [each for each in metric_names.ALL if each.whose is Whose.PROCESS],
    )
    yield (
        "JetStream, of the leading coordinator",
        [each for each in leading if each.name.startswith("nats_")],
    )


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{each}`" for each in metric.labels)
    who = ""
    if metric.whose is Whose.PROCESS and len(metric.components) < len(EVERYBODY):
        who = f" ({', '.join(metric.components)})"
    return (
        f"| `{metric.name}` | {metric.kind} | {metric.unit or '-'} | {labels or '-'} "
        f"| {metric.help}{who} |"
    )


def main() -> None:
    made_pages.settle(PAGE, rendered(), name="docs/metrics.md", source="runtime/metric_names.py")


if __name__ == "__main__":
    main()
