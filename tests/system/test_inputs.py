"""Joins, groups, ticks and files without contents, from the spec to what a command saw."""

import hashlib
from typing import Any

from tests.support import installation

from trunkline.contracts import records

SAW = """
for name in stores sales; do
  eval "echo $name \\$PACH_DATUM_${name}_JOIN_ON \\$PACH_DATUM_${name}_GROUP_BY"
done > "$PFS/out/$TRUNKLINE_DATUM_INDEX"
(cd "$PFS" && find stores sales -type f 2>/dev/null | sort) >> "$PFS/out/$TRUNKLINE_DATUM_INDEX"
"""
SHUFFLE = """
for file in "$PFS"/months/*; do
  test ! -s "$file" || exit 1
  ln -s "$file" "$PFS/out/$(basename "$file").renamed"
done
"""


def pfs(repo: str, glob: str, **more: Any) -> dict[str, Any]:
    return {"pfs": {"repo": repo, "glob": glob, **more}}


def a_spec(name: str, value: dict[str, Any], stdin: str) -> dict[str, Any]:
    return {
        "pipeline": {"name": name},
        "transform": {"cmd": ["/bin/sh"], "stdin": [stdin]},
        "input": value,
        "parallelism_spec": {"constant": 1},
    }


def hashes(*texts: str) -> dict[str, str]:
    return {
        f"/{number}": hashlib.sha256(text.encode()).hexdigest() for number, text in enumerate(texts)
    }


async def test_a_command_sees_the_files_that_were_joined_or_grouped_and_their_keys(here):
    stores = pfs("stores", "/(STORE?)", join_on="$1")
    sales = pfs("sales", "/*_(STORE?)", join_on="$1", outer_join=True)
    grouped = pfs("sales", "/*_(STORE?)", group_by="$1")
    for repo in ("stores", "sales"):
        await here.repo(repo)
    await here.apply(a_spec("joined", {"join": [stores, sales]}, SAW))
    await here.apply(a_spec("grouped", {"group": [grouped]}, SAW))
    sold = await here.put("sales", {"/A_STORE1": b"a", "/B_STORE1": b"b", "/C_STORE2": b"c"})
    opened = await here.put("stores", {"/STORE1": b"1", "/STORE3": b"3"})
    await here.succeeded("joined", opened)
    assert await here.content("joined") == hashes(
        "stores STORE1\nsales STORE1\nsales/A_STORE1\nstores/STORE1\n",
        "stores STORE1\nsales STORE1\nsales/B_STORE1\nstores/STORE1\n",
        "stores\nsales STORE2\nsales/C_STORE2\n",
    )
    await here.succeeded("grouped", sold)
    assert await here.content("grouped") == hashes(
        "stores\nsales STORE1\nsales/A_STORE1\nsales/B_STORE1\n",
        "stores\nsales STORE2\nsales/C_STORE2\n",
    )


async def test_files_without_contents_are_renamed_without_a_byte_being_moved(here):
    await here.repo("months")
    shuffle = a_spec("shuffled", pfs("months", "/", empty_files=True), SHUFFLE)
    await here.apply(shuffle)
    commit = await here.put("months", {"/a": b"a" * 10, "/b": b"b" * 100_000})
    await here.succeeded("shuffled", commit)
    assert await here.content("shuffled") == {
        "/a.renamed": hashlib.sha256(b"a" * 10).hexdigest(),
        "/b.renamed": hashlib.sha256(b"b" * 100_000).hexdigest(),
    }
    (view,) = await here.datums("shuffled", commit)
    assert view.outcome is not None
    assert view.outcome.figures.download_bytes == 0


async def test_each_tick_runs_the_command_on_its_file(here):
    tick = {"cron": {"name": "tick", "spec": "@every 1s", "overwrite": True}}
    command = 'basename "$tick" > "$PFS/out/at"'
    await here.apply(a_spec("ticked", tick, command))

    async def ended() -> list[records.Job] | None:
        found = [job for job in await here.jobs("ticked") if job.state == "SUCCESS"]
        return found if len(found) >= 2 else None

    jobs = await installation.until(ended, what="two ticks")
    seen = [(await here.content("ticked", job.id))["/at"] for job in jobs]
    assert len(set(seen)) == len(seen)
