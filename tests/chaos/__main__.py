"""`python -m tests.chaos --seeds 100`: a job for each seed, a line for each job, and what all came to.

What is killed and when is a function of the seed, so a line that is wrong is tried again by its number.
"""

import argparse
import asyncio
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tests.chaos import story
from tests.chaos.story import Ran

from trunkline.chaos.core import schedule

HEADINGS = (
    "seed  state     worker  coord  scaler  nats  retried  refused  lost  twice  wall s  ratio"
)


def main() -> int:
    """Run the seeds; return 1 if anything was lost, was there twice, or did not come to its end."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--datums", type=int, default=story.DATUMS)
    parser.add_argument("--servers", type=int, choices=(1, 3), default=1, help="of NATS")
    parser.add_argument("--standbys", action="store_true", help="of coordinator and scaler")
    parser.add_argument("--what", choices=sorted(schedule.HABITS), default="kills")
    parser.add_argument("--undisturbed", type=float, help="seconds; measured first where not given")
    parser.add_argument("--json", type=Path, help="where all of it is written, too")
    parser.add_argument("--verbose", action="store_true", help="say what is done when")
    asked = parser.parse_args()
    usual_s = asked.undisturbed
    if usual_s is None:
        calm = story.run(
            0, None, datums=asked.datums, servers=asked.servers, standbys=asked.standbys
        )
        usual_s = asyncio.run(calm).wall_s
    how = "undisturbed" if asked.undisturbed is None else "undisturbed, as it is taken for"
    print(f"{asked.datums} datums, {story.WORKERS} workers; {how}: {usual_s:.1f} s")
    print(HEADINGS, flush=True)
    ran: list[Ran] = []
    failed = 0
    for seed in range(asked.first, asked.first + asked.seeds):
        try:
            each = asyncio.run(
                story.run(
                    seed,
                    asked.what,
                    datums=asked.datums,
                    servers=asked.servers,
                    standbys=asked.standbys,
                    tell=print if asked.verbose else lambda _: None,
                )
            )
        except Exception:
            traceback.print_exc()
            failed += 1
            continue
        ran.append(each)
        failed += not each.holds
        print(line(each, usual_s), flush=True)
        for reason in each.reasons:
            print("     ", reason)
        if others := {k: n for k, n in each.faults.items() if not k.startswith("kill ")}:
            print("      beside it:", ", ".join(f"{n} {what}" for what, n in others.items()))
        for finding in (*each.report.broken, *each.report.unknown):
            print(f"      {finding.check}: {finding.text}", *finding.examples, sep="\n        ")
    print(summary(ran, failed, usual_s))
    if asked.json:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(ran)))
    return 1 if failed else 0


def line(each: Ran, usual_s: float) -> str:
    """Return a row of the table."""
    killed = [
        each.faults.get(f"kill {who}", 0)
        for who in ("worker", "coordinator", "scaler", "nats-server")
    ]
    report = each.report
    return (
        f"{each.seed:4}  {each.state:8}  {killed[0]:6}  {killed[1]:5}  {killed[2]:6}  {killed[3]:4}"
        f"  {report.retried:7}  {each.refused:7}  {report.lost:4}  {report.twice:5}"
        f"  {each.wall_s:6.1f}  {each.wall_s / usual_s:5.2f}"
    )


def summary(ran: Sequence[Ran], failed: int, usual_s: float) -> str:
    """Return what all came to."""
    kills = sum(sum(each.faults.values()) for each in ran)
    lost = sum(each.report.lost for each in ran)
    twice = sum(each.report.twice for each in ran)
    ratios = sorted(each.wall_s / usual_s for each in ran) or [0.0]
    return (
        f"{len(ran)} jobs, {failed} failed; {kills} faults, "
        f"{sum(each.report.retried for each in ran)} attempts beyond the first, "
        f"{sum(each.refused for each in ran)} second results refused, {lost} lost, {twice} twice; "
        f"wall over undisturbed: median {ratios[len(ratios) // 2]:.2f}, most {ratios[-1]:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
