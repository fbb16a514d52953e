"""The verb `chaos`: what breaks when, and breaking it."""

from itertools import takewhile

import click

from trunkline.chaos.core import schedule
from trunkline.chaos.running import Runner
from trunkline.cli import options, saying, session
from trunkline.local import home as homes
from trunkline.runtime import stopping


def chaos(home: str | None, *, seed: int | None, seconds: float, what: str, dry_run: bool) -> None:
    """Break the installation in a state directory for some time, or say what would break."""
    chosen = options.seed(options.ANY_SEED if seed is None else seed) or 0
    habits = schedule.HABITS[what]
    if dry_run:
        for fault in takewhile(lambda each: each.at_s < seconds, schedule.faults(chosen, habits)):
            lasts = f" for {fault.lasts_s:.1f} s" if fault.lasts_s else ""
            saying.say(f"{fault.at_s:7.2f} s  {fault.kind} {fault.target}{lasts}")
        return
    if what not in schedule.OUTSIDE:
        told = (
            f"{what!r} breaks what an installation must be started for: see `trunkline up --chaos`"
        )
        raise click.BadParameter(told, param_hint="--what")
    place = session.home_of(home)
    with session.reporting():
        if place.supervisor() is None:
            raise homes.NotRunningError(place.root, "there is nothing to break")
        saying.tell(schedule.told(chosen))
        runner = Runner(place, chosen, habits, saying.tell)
        stopping.run(runner.run_for(seconds))
        for (kind, target), count in sorted(runner.done.items()):
            saying.tell(f"{kind} {target}: {count}")
