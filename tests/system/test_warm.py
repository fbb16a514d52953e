"""A word count by commands that stay up comes to what it comes to by a command for each datum."""

import sys

import psutil
from tests.support import installation

WORDS = """
import collections, os, re, trunkline.worker
for datum in trunkline.worker.datums():
    with datum:
        text = open(datum.inputs["texts"], "rb").read()
        counts = collections.Counter(re.findall(rb"[a-z]+", text.lower()))
        with open(f"{datum.out}/{os.path.basename(datum.inputs['texts'])}", "wb") as out:
            for word, count in sorted(counts.items()):
                out.write(b"%b %d\\n" % (word, count))
"""
TEXTS = {
    f"/t{number:02}": b"to be or not to be %d " % number * (number + 1) for number in range(40)
}


def counting(name: str, *, warm: bool) -> dict[str, object]:
    return {
        "pipeline": {"name": name},
        "transform": {"cmd": [sys.executable, "-c", WORDS], "datum_batching": warm},
        "input": {"pfs": {"repo": "texts", "glob": "/*"}},
        "parallelism_spec": {"constant": 1},
    }


async def test_warm_and_cold_count_the_same_and_scale_in_ends_what_stays_up():
    async with installation.running() as here:
        await here.repo("texts")
        await here.apply(counting("cold", warm=False))
        await here.apply(counting("warm", warm=True))
        commit = await here.put("texts", TEXTS)
        await here.succeeded("warm", commit)
        await here.succeeded("cold", commit)
        found = await here.content("warm", commit)
        assert len(found) == len(TEXTS)
        assert found == await here.content("cold", commit)
        waiting = commands()
        assert len(waiting) == 1
        await here.apply({**counting("warm", warm=True), "standby": True})
        await here.workers("warm", 0)
        _, alive = psutil.wait_procs(waiting, timeout=10)
        assert alive == []


def commands() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if WORDS in each.cmdline()]
