"""`make pictures`: a real run of some minutes, and the dashboards that it would show, drawn into docs/pictures.

What is drawn is what the dashboards' own expressions give on a real Prometheus; only the look is ours, and the picture
says so. `--minutes` makes it shorter, to try something; `--only` draws some of them.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from tests.pictures import browser, drawing, figures
from tests.pictures.figures import Span
from tests.support import dashboards, watched
from tests.support.prometheus import Prometheus

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
NOTE = "Preview: figures of a real run, drawn by `make pictures`, not by Grafana"
ONE = "thumbnails"
"""What the board for one pipeline shows."""


def main() -> None:
    """Run, and draw."""
    parser = argparse.ArgumentParser(prog="make pictures", description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="how long the run is")
    parser.add_argument("--only", default="", help="dashboards, by commas: overview,scaling")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    asked = parser.parse_args()
    asyncio.run(
        run(asked.folder, 60 * asked.minutes, [each for each in asked.only.split(",") if each])
    )


async def run(folder: Path, seconds: float, only: list[str]) -> None:
    """Have a load for so long, and then draw what was measured meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        async with watched.running(Path(home), named=False) as made:
            start = now()
            await watched.for_a_while(made, seconds)
            await draw(made.prometheus, Span(start=start, end=now()), folder, only)


async def draw(prometheus: Prometheus, span: Span, folder: Path, only: list[str]) -> None:
    """Write a picture of each dashboard."""
    for uid, board in dashboards.read().items():
        name = uid.removeprefix("trunkline-")
        if only and name not in only:
            continue
        pipeline = ONE if name == "pipeline" else ".*"
        shown = [
            await figures.shown(prometheus, panel, span, pipeline=pipeline)
            for panel in dashboards.panels(board)
        ]
        svg = drawing.dashboard(board, shown, span, NOTE)
        await browser.photograph(svg, folder / f"{name}.png")
        print(folder / f"{name}.png")


def now() -> float:
    return time.time_ns() / 1e9


if __name__ == "__main__":
    main()
