"""The whole main job on a bucket, also while that goes away and comes back."""

import asyncio
import os
from urllib.parse import urlsplit

import psutil
import pytest
from tests.support import gates, installation
from tests.support.gates import Gate
from tests.support.s3 import KEY, SECRET

from trunkline.chaos.front import Front
from trunkline.contracts import api, errors
from trunkline.local import home as homes
from trunkline.local import server_files, storing
from trunkline.local import stack as stacks

pytestmark = [pytest.mark.s3, pytest.mark.timeout(240)]

FILES = 40
SILENT_S = 3.0
LONG_S = 30.0
"""Longer than each time limit of a request, and than two leases."""


def words(name, repo, script):
    return {
        "pipeline": {"name": name},
        "transform": {"cmd": ["/bin/sh"], "stdin": [script]},
        "input": {"pfs": {"repo": repo, "glob": "/*"}},
        "parallelism_spec": {"constant": 3},
        "datum_tries": 1,
    }


def texts():
    return {f"/t{number:02}": b"one two three %d\n" % number * 50 for number in range(FILES)}


async def problems(here):
    return (await here.client.call("status", None, api.Status)).problems


async def run_through(here, *, amid):
    """Count words in two pipelines, with `amid` done in the middle of the first one's job."""
    await here.repo("in")
    await here.apply(
        words(
            "count",
            "in",
            gates.of_job(here.home, f"*/t{FILES - 1:02}")
            + '\nsleep 0.2; for f in "$PFS"/in/*; do wc -w <"$f" >"$PFS/out/${f##*/}"; done; env >"$PFS/out/env-$$-${f##*/}"',
        )
    )
    total = words(
        "total", "count", 'cat "$PFS"/count/t* | awk \'{s+=$1} END {print s}\' >"$PFS/out/total"'
    )
    total["input"]["pfs"]["glob"] = "/"
    await here.apply(total)
    job = await here.put("in", texts())
    await here.listed("count", job, 6)
    await amid()
    Gate(here.home / job).open()
    ended = await here.succeeded("count", job, within_s=150)
    assert (ended.counts.processed, ended.counts.failed, ended.counts.quarantined) == (FILES, 0, 0)
    await here.succeeded("total", job)
    wanted = installation.hashlib.sha256(b"%d\n" % (FILES * 200)).hexdigest()
    assert await here.content("total", job) == {"/total": wanted}
    return job


def nothing_secret_in(home):
    """Neither the key nor the secret is in a log or in any other file of the installation."""
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            assert SECRET.encode() not in data, path
            assert KEY.encode() not in data, path


@pytest.mark.parametrize(
    ("how", "least_s"),
    [("killed", 0), ("frozen", 0), pytest.param("killed", LONG_S, marks=pytest.mark.slow)],
)
async def test_a_store_that_is_away_amid_a_job_costs_no_datum_and_no_try(
    s3_server, s3_url, how, least_s, capsys
):
    async with installation.running(nodes=3, store=s3_url) as here:
        workers = {}

        async def away():
            workers.update(await here.pids())
            processes = [psutil.Process(pid) for pid in workers.values()]
            began = asyncio.get_running_loop().time()
            before = sum(sum(each.cpu_times()[:2]) for each in processes)
            if how == "killed":
                s3_server.kill()
            else:
                s3_server.freeze()
            try:
                told = await installation.until(lambda: problems(here), what="a problem")
                assert any(s3_url in each for each in told)
                left_s = began + least_s - asyncio.get_running_loop().time()
                await asyncio.sleep(max(0.0, left_s))  # the outage's length is what is tried
                assert least_s == 0 or await problems(here)
            finally:
                if how == "killed":
                    await asyncio.to_thread(s3_server.start)
                else:
                    s3_server.thaw()

            async def well():
                return not await problems(here)

            await installation.until(well, what="readiness")
            used = sum(sum(each.cpu_times()[:2]) for each in processes) - before
            took = asyncio.get_running_loop().time() - began
            with capsys.disabled():
                print(
                    f"\nstore {how}: well after {took:.0f} s, {used:.2f} s CPU of {len(workers)} workers"
                )

        job = await run_through(here, amid=away)
        now = await here.pids()
        assert {name: now.get(name) for name in workers} == workers
        views = await here.datums("count", job)
        assert {view.outcome.attempts for view in views if view.outcome} == {1}
        nothing_secret_in(here.home)


async def test_a_network_before_a_store_that_is_slow_cut_and_silent_costs_no_datum_and_no_try(
    s3_server, s3_url, monkeypatch
):
    """1. Everything is late. 2. All connections are cut, again and again. 3. Nothing comes through for a while."""
    front, port = Front(), server_files.more(set(), 1)[0]
    behind = urlsplit(s3_server.endpoint).port
    async with front.standing([(port, behind)]):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        async with installation.running(nodes=3, store=s3_url) as here:
            cuts = 0

            async def broken():
                nonlocal cuts
                front.delay_s = 0.05
                for _ in range(10):
                    await asyncio.sleep(0.3)
                    cuts += front.cut()
                front.delay_s = 0.0
                front.hold()
                await asyncio.sleep(SILENT_S)
                front.flow()

            job = await run_through(here, amid=broken)
            views = await here.datums("count", job)
        assert {view.outcome.attempts for view in views if view.outcome} == {1}
        assert cuts


async def test_an_installation_keeps_its_bucket_and_commands_see_no_credentials(s3_url):
    async with installation.running(nodes=3, store=s3_url) as here:

        async def nothing():
            assert not await problems(here)

        job = await run_through(here, amid=nothing)
        async for file in installation.files.ls(here.client, "count", job):
            if file.path.startswith("/env-"):
                data = b"".join([piece async for piece in here.client.store.read(file)])
                assert b"AWS_" not in data
                assert SECRET.encode() not in data
        nothing_secret_in(here.home)
        home = homes.Home(here.home)
        assert storing.choose(home, None) == s3_url
        with pytest.raises(storing.AnotherStoreError, match="copy all objects"):
            storing.choose(home, "s3://elsewhere")


@pytest.mark.usefixtures("s3_url")
async def test_an_installation_does_not_come_up_on_a_bucket_that_is_not_there(tmp_path):
    with pytest.raises((stacks.StartError, errors.UnavailableError), match="no such bucket"):
        async with stacks.running(
            tmp_path / "h", nodes=1, port=0, store="s3://no-such-bucket", ready_s=8
        ):
            pass
    assert storing.choose(homes.Home(tmp_path / "h"), "s3://another") == "s3://another"
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
