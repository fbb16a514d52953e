"""A pipeline that is changed, replaced, stopped, started and run again, with real workers at real commands."""

import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec
from tests.support import installation
from tests.support.installation import Installation, until

from trunkline.contracts import api, records
from trunkline.contracts.states import JobState

UPPER, COPY = 'tr a-z A-Z < "$file" > "$PFS/out/${file##*/}"', 'cp "$file" "$PFS/out/"'


def a_spec(each: str, workers: int = 1, hold: Path | None = None) -> dict[str, Any]:
    """Return a spec whose command waits while there is a file `hold`, and writes its process id there."""
    wait = f"while [ -e {hold} ]; do echo $$ > {hold}; sleep 0.05; done" if hold else ":"
    lines = [wait, f'for file in "$PFS"/in/*; do {each}; done']
    return {
        "pipeline": {"name": "words"},
        "transform": {"cmd": ["/bin/sh"], "stdin": lines},
        "parallelism_spec": {"constant": workers},
        "input": {"pfs": {"repo": "in", "glob": "/*"}},
    }


def shas(**texts: str) -> dict[str, str]:
    return {f"/{name}": hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


async def held(hold: Path) -> int:
    """Return the process id of a command that waits."""

    async def look() -> int | None:
        return int(hold.read_text() or 0)

    return await until(look, what="a command that waits")


async def gone(pid: int) -> None:
    async def look() -> bool | None:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return None

    await until(look, what="the end of a command", within_s=20)


async def test_from_version_to_version_through_stop_and_start(tmp_path: Path) -> None:
    async with installation.running(nodes=2) as here:
        await here.repo("in")
        first = await apply(here, a_spec(COPY))
        one = await here.put("in", {"/a": b"a"})
        await here.succeeded("words", one)
        [before] = (await here.workers("words", 1)).workers

        await apply(here, a_spec(COPY, workers=2))
        after = (await here.workers("words", 2)).workers
        assert (before.name, before.created_ns) in {(w.name, w.created_ns) for w in after}
        assert [job.id for job in await here.jobs("words")] == [one]

        holds = tmp_path / "one", tmp_path / "two"
        for hold in holds:
            hold.touch()
        waiting = await apply(here, a_spec(COPY, workers=2, hold=holds[0]))
        commands = [await held(holds[0])]
        changed = a_spec(UPPER, workers=2, hold=holds[1])
        new = await apply(here, changed, verb="pipeline.apply-now")
        assert (await here.ended("words", waiting.set_id)).state is JobState.KILLED
        assert (first.version, new.version) == (1, 4)

        commands.append(await held(holds[1]))
        await here.client.call("pipeline.stop", api.Named(name="words"), records.Pipeline)
        killed = await here.ended("words", new.set_id)
        assert (killed.state, killed.halted) == (JobState.KILLED, True)
        for command in commands:
            await gone(command)
        holds[1].unlink()
        await here.workers("words", 0)
        for name in ("/b", "/c"):
            await here.put("in", {name: name[1:].encode()})
        jobs = len(await here.jobs("words"))

        await here.client.call("pipeline.start", api.Named(name="words"), records.Pipeline)
        caught_up, *_ = await here.jobs("words")
        assert len(await here.jobs("words")) == jobs + 1
        done = await here.succeeded("words", caught_up.id)
        assert done.counts == records.Counts(processed=3)
        assert await here.content("words") == shas(a="A", b="B", c="C")

        request = api.PipelineRerun(name="words", reprocess=True)
        again = await here.client.call("pipeline.rerun", request, records.Job)
        assert (await here.succeeded("words", again.id)).counts.processed == 3
        old = api.JobRerun(pipeline="words", job=one)
        again = await here.client.call("job.rerun", old, records.Job)
        assert (await here.succeeded("words", again.id)).counts == records.Counts(skipped=1)
        assert await here.content("words") == shas(a="A")

        named = api.Named(name="words")
        explained = await here.client.call("pipeline.explain", named, api.Explained)
        assert explained.decision is not None
        assert {
            "cap",
            "want",
            "have",
            "pending",
            "nodes",
            "reason",
        } <= explained.decision.facts.keys()


async def apply(
    here: Installation, spec: dict[str, Any], verb: str = "pipeline.apply"
) -> records.Pipeline:
    return await here.client.call(verb, msgspec.json.encode(spec), records.Pipeline)
