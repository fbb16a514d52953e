"""`python -m tests.chaos --seeds 100`: a job for each seed, a row for each job, and what all came to.

What is killed and when is a function of the seed, so a row that is wrong is tried again by its number. Each
row goes into a file as it ends: after a kill, `--resume` goes on with the seeds that are missing there, and
the table that is printed at the end is that of the file.
"""

import argparse
import asyncio
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec
from tests.chaos import story, table
from tests.chaos.rows import Ran, Rows, Setup, put_aside

from trunkline.chaos.core import schedule

ROWS = Path(".cache/chaos.jsonl")
"""Where rows go if nothing else is said."""


def main() -> int:
    """Run the seeds; return 1 unless each of them came to its end and holds."""
    asked = _parser().parse_args()
    setup = Setup(
        what=asked.what,
        datums=asked.datums,
        servers=asked.servers,
        standbys=asked.standbys,
        failing_store=asked.failing_store,
    )
    if not asked.resume:
        put_aside(asked.rows)
    rows = Rows(asked.rows, setup)
    seeds = range(asked.first, asked.first + asked.seeds)
    missing = rows.missing(seeds)
    print(f"{setup}, {story.WORKERS} workers")
    usual_s = _measured(setup, asked.undisturbed_datums or asked.datums) if missing else 0.0
    print(table.HEADINGS, flush=True)
    for each in rows.ran:
        if each.seed in seeds:
            _show(each)
    for seed in missing:
        ran = _tried(setup, seed, print if asked.verbose else lambda _: None)
        ran = msgspec.structs.replace(ran, undisturbed_s=usual_s)
        rows.add(ran)
        _show(ran)
    found = [each for each in rows.ran if each.seed in seeds]
    print(table.summary(found))
    return 0 if all(each.holds for each in found) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--datums", type=int, default=story.DATUMS)
    parser.add_argument("--servers", type=int, choices=(1, 3), default=1, help="of NATS")
    parser.add_argument("--standbys", action="store_true", help="of coordinator and scaler")
    parser.add_argument(
        "--failing-store",
        action="store_true",
        help="let 5 in 100 calls of the store fail, and 5 more be done and fail, all the time",
    )
    parser.add_argument("--what", choices=sorted(schedule.HABITS), default="kills")
    parser.add_argument(
        "--undisturbed-datums", type=int, help="of the run that is measured first; --datums if not"
    )
    parser.add_argument("--rows", type=Path, default=ROWS, help="the file of rows (JSON lines)")
    parser.add_argument("--resume", action="store_true", help="go on with what is missing there")
    parser.add_argument("--verbose", action="store_true", help="say what is done when")
    return parser


def _measured(setup: Setup, datums: int) -> float:
    """Run the story without anything that breaks; return how long as many as the setup's take."""
    calm = msgspec.structs.replace(setup, what="", failing_store=False, datums=datums)
    ran = asyncio.run(story.run(calm, 0))
    if not ran.holds:
        sys.exit(f"the undisturbed run does not hold: {ran.state}, {ran.unproved}, {ran.report}")
    scaled_s = ran.wall_s * setup.datums / datums
    of = "" if datums == setup.datums else f", from {ran.wall_s:.1f} s for {datums:,} datums"
    print(f"undisturbed: {scaled_s:.1f} s{of}")
    return scaled_s


def _tried(setup: Setup, seed: int, tell: Callable[[str], None]) -> Ran:
    """Return what became of a seed; a story that breaks off is a row, too, and none that holds."""
    try:
        return asyncio.run(story.run(setup, seed, tell=tell))
    except Exception as error:  # the next seed has its own installation
        traceback.print_exc()
        return Ran(setup=setup, seed=seed, state="BROKE OFF", wall_s=0.0, reasons=(repr(error),))


def _show(each: Ran) -> None:
    print(table.row(each))
    for line in table.beside(each):
        print("     ", line)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
