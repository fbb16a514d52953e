"""An installation under load, and a Prometheus that scrapes it: what expressions are tried on, and pictures drawn from.

The load has all that a dashboard is there to show: pipelines that always have their workers and one that sleeps, a job
downstream of another, skipped datums, one that fails, one that kills each of its workers until it is quarantined, and a
worker that is killed from outside: by a photo that waits at a gate until that has happened.
"""

import asyncio
import itertools
import random
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support import alerts, gates, installation, prometheus
from tests.support.gates import Gate
from tests.support.installation import Installation, api
from tests.support.prometheus import Prometheus

NODES = 4
SERVICES = 4
"""Two coordinators and two scalers, of which one leads and one stands by."""
SETTINGS = {"TRUNKLINE_STANDBY_COOL_DOWN_S": "3"}

_WORK = f"""
for f in "$PFS"/photos/*; do read word seconds rest <"$f"; done
sleep "$seconds"
case "$word" in
  held) {gates.waits('"$rest"')};;
  spoiled) echo "no photo" >&2; exit 1;;
  fatal) kill -9 "$(awk '{{print $4}}' /proc/$PPID/stat)"; sleep 5;;
esac
cp "$PFS"/photos/* "$PFS/out/"
"""
SPECS: tuple[dict[str, Any], ...] = (
    {
        "pipeline": {"name": "thumbnails"},
        "transform": {"cmd": ["/bin/sh"], "stdin": [_WORK]},
        "input": {"pfs": {"repo": "photos", "glob": "/*"}},
        "parallelism_spec": {"coefficient": 1},
        "datum_tries": 2,
    },
    {
        "pipeline": {"name": "albums"},
        "transform": {"cmd": ["/bin/sh"], "stdin": ['sleep 2; cp "$PFS"/thumbnails/* "$PFS/out/"']},
        "input": {"pfs": {"repo": "thumbnails", "glob": "/"}},
        "parallelism_spec": {"constant": 2},
    },
    {
        "pipeline": {"name": "invoices"},
        "transform": {"cmd": ["/bin/sh"], "stdin": ['sleep 0.5; cp "$PFS"/orders/* "$PFS/out/"']},
        "input": {"pfs": {"repo": "orders", "glob": "/*"}},
        "parallelism_spec": {"constant": 3},
        "standby": True,
    },
)


class Watched:
    """Both of them."""

    def __init__(self, here: Installation, prometheus: Prometheus) -> None:
        self.here, self.prometheus = here, prometheus
        self._chance = random.Random(20)
        self._gates = (Gate(here.home / f"gate-{number}") for number in itertools.count())

    async def scraped(self) -> bool | None:
        """Say whether all services have been scraped."""
        found = [each["health"] for each in await self.prometheus.targets()]
        return True if found == ["up"] * SERVICES else None

    async def photos(
        self,
        count: int,
        *,
        first: int = 0,
        bad: str = "",
        slowest_s: float = 0.2,
        held: Gate | None = None,
    ) -> str:
        """Commit photos, the last of which may be `spoiled` or `fatal` until the next commit; return the job's id.

        Another one waits at a gate, where one is given.
        """
        files = dict(self._named("photo", ["photo"] * (count - 1), first, slowest_s))
        if held is not None:
            files |= {"/photo-held": f"held {slowest_s / 8} {held.file}\n".encode()}
        return await self.here.put(
            "photos", files | {"/photo-last": f"{bad or 'photo'} {slowest_s}\n".encode()}
        )

    async def orders(self, count: int, *, first: int = 0) -> str:
        return await self.here.put(
            "orders", dict(self._named("order", ["order"] * count, first, 1.0))
        )

    async def lose_a_leader(self, service: str) -> None:
        """Kill the process that leads a service, which another one waits for."""
        status = await self.here.client.call("status", None, api.Status)
        (leader,) = (each.leader for each in status.services if each.service == service)
        self.here.stack.kill(leader)

    def gate(self) -> Gate:
        """Return one at which nobody was yet."""
        return next(self._gates)

    async def lose_a_worker(self, held: Gate) -> None:
        """Kill the worker whose datum waits at a gate, and let the datum go on with the next one."""
        await self.here.kill_worker((await held.reached())[-1])
        held.open()

    def _named(
        self, name: str, words: list[str], first: int, slowest_s: float
    ) -> Iterator[tuple[str, bytes]]:
        for number, word in enumerate(words, first):
            seconds = self._chance.uniform(slowest_s / 8, slowest_s)
            yield (
                f"/{name}-{number:04}",
                f"{word} {seconds:.3f} {secrets.token_hex(2000)}\n".encode(),
            )


@asynccontextmanager
async def running(home: Path, *, named: bool = True) -> AsyncIterator[Watched]:
    """Run both, with all services scraped before there is anything to see, and then the pipelines.

    Args:
        home: Where Prometheus keeps what it has.
        named: Whether its targets say which installation they are of, as they do of themselves.
    """
    async with installation.running(nodes=NODES, standbys=True, settings=SETTINGS) as here:
        scrapes = {
            "job_name": "trunkline",
            "file_sd_configs": [{"files": [str(here.home / "metrics.json")]}],
            "relabel_configs": [{"action": "labeldrop", "regex": "installation"}] * (not named),
        }
        async with prometheus.running(home, [scrapes], [alerts.RULES]) as watching:
            made = Watched(here, watching)
            await installation.until(made.scraped, what="figures of all services")
            for repo in ("photos", "orders"):
                await here.repo(repo)
            for spec in SPECS:
                await here.apply(spec)
            yield made


async def everything(run: Watched) -> None:
    """Have everything happen that a dashboard is there to show, and wait until it has ended."""
    here = run.here
    await here.workers("thumbnails", NODES)
    # nobody is lost with a bad photo: lost once and spoiled once, it would be quarantined
    held = run.gate()
    first = await run.photos(60, slowest_s=0.6, held=held)
    await run.lose_a_worker(held)
    await here.succeeded("thumbnails", first)
    second = await run.photos(60, first=20, bad="spoiled")
    third = await run.orders(6)
    await here.ended("thumbnails", second)  # it fails; the next one brings a better photo
    fourth = await run.photos(12, first=79, bad="fatal")
    await here.ended("thumbnails", fourth)
    await here.succeeded("albums", first)
    await here.succeeded("invoices", third)
    await here.workers("invoices", 0)


async def for_a_while(run: Watched, seconds: float) -> None:
    """Have a load that comes and goes for so long, with losses and a bad datum now and then in it."""
    here = run.here
    clock = asyncio.get_running_loop().time
    until_s = clock() + seconds
    bads = itertools.cycle(("", "", "spoiled", "", "", "", "fatal", ""))
    losses = itertools.cycle(("", "worker", "", "leader", ""))
    first = 0
    for bad, loss in zip(bads, losses, strict=False):
        held = run.gate() if loss == "worker" else None
        job = await run.photos(60 + first % 70, first=first, bad=bad, slowest_s=0.6, held=held)
        await run.orders(4 + first % 5)
        if held is not None:
            await run.lose_a_worker(held)
        elif loss == "leader":
            await here.listed("thumbnails", job, 30)
            await run.lose_a_leader("scaler")
        await here.ended("thumbnails", job, within_s=120)
        if clock() > until_s:
            return
        first = (first + 53) % 160  # some are new, and some as they were
        await asyncio.sleep(4)  # as a load that comes and goes does
