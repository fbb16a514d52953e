"""A datum that hangs on one worker is done by another one, and the job ends as if it had not hung."""

import asyncio
from pathlib import Path

import msgspec
from tests.support import installation
from tests.support.installation import Installation

from trunkline.audit import evidence, verifying
from trunkline.cli import session
from trunkline.contracts import attempts, messages
from trunkline.contracts.states import Cause

HANGS = """
if [ -e "$PFS/in/f5" ]; then
  echo run >> {0}/runs
  if mkdir {0}/first; then echo $$ > {0}/slow; sleep 600; fi
  touch {0}/second
  until [ -e {0}/go ]; do sleep 0.02; done
fi
cp "$PFS"/in/* "$PFS/out/"
"""


async def appears(file: Path) -> None:
    async with asyncio.timeout(60):
        while not file.exists():
            await asyncio.sleep(0.02)


async def told(here: Installation) -> int | None:
    """Return how often it was told that a datum is copied; None for never."""
    events = here.client.every("event.list", messages.Event, key="hangs")
    return sum([each.kind == "speculated" async for each in events]) or None


async def verified(here: Installation, pipeline: str, job: str) -> None:
    context = session.where(str(here.home))
    urls = context.auditor, context.auditor_data, context.store
    async with evidence.opened(*urls) as found:
        report = await verifying.verify(found, await found.job(pipeline, job))
    assert report.broken == ()


async def test_a_datum_that_hangs_is_done_elsewhere_though_the_coordinator_is_killed_meanwhile(
    here, tmp_path
):
    """The one that hangs is killed, charged nothing, and in the datum's history; nothing is done twice."""
    await here.repo("in")
    await here.apply(
        {
            "pipeline": {"name": "hangs"},
            "transform": {"cmd": ["/bin/sh"], "stdin": [HANGS.format(tmp_path)]},
            "parallelism_spec": {"constant": 2},
            "input": {"pfs": {"repo": "in", "glob": "/*"}},
            "speculation": {"quantile": 0.5},
            "datum_tries": 1,
        }
    )
    job = await here.put("in", {f"/f{number}": b"%d\n" % number for number in range(8)})
    await appears(tmp_path / "second")
    await installation.until(lambda: told(here), what="why there is a copy")
    here.stack.kill("coordinator")
    (tmp_path / "go").touch()
    ended = await here.succeeded("hangs", job)
    assert (ended.counts.processed, ended.counts.copied) == (8, 1)
    assert (tmp_path / "runs").read_text() == "run\n" * 2
    slow = (tmp_path / "slow").read_text().strip()

    async def killed() -> bool | None:
        return None if Path(f"/proc/{slow}").exists() else True

    await installation.until(killed, what="the end of the slow command")
    view = next(each for each in await here.datums("hangs", job) if each.index == 5)
    ledger = msgspec.json.decode(view.attempts, type=attempts.Ledger)
    shown = [(each.cause, each.copy) for each in ledger.attempts]
    assert shown == [(Cause.SUPERSEDED, False), (Cause.DONE, True)]
    assert await told(here) == 1
    await verified(here, "hangs", job)
