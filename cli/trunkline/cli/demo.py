"""`make demo`: words of the standard library's source files, counted with a worker killed midway.

An embedded installation on a state directory of its own; two specs, published to the NATS subject
as any NATS client could; files put into a repo; a job of each pipeline, in which a worker that is
at work gets SIGKILL; and at the end the totals beside those of a plain count in this process. The
exit code is 0 if and only if they are equal and every datum ended well.

The state is kept: a second run puts the same files as a new commit, and no datum runs again.

With `--running` it starts nothing, and counts on the installation that runs in the state directory, or, without
one, on that which TRUNKLINE_URL and TRUNKLINE_STORE name, where no worker is killed.
"""

import argparse
import asyncio
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

from trunkline.cli import demo_kill, demo_texts, progress, session
from trunkline.client import client as clients
from trunkline.client import files, following
from trunkline.client.client import Client
from trunkline.contracts import api, errors, records, spec_parsing
from trunkline.contracts.states import DatumState, JobState
from trunkline.contracts.wording import counted
from trunkline.local import home as homes
from trunkline.local import stack
from trunkline.runtime import ending

NODES = 4
REPO = "texts"
PIPELINES = ("words", "totals")
RERUNS = 2
"""How often the words are counted anew where a fast machine had done so before a worker was seen busy."""
TAKEN_S = 20.0
"""How long the coordinator may take over a spec that was published."""


class DemoError(errors.TrunklineError):
    """The demo did not show what it is there to show."""


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="python -m trunkline.cli.demo", description=__doc__)
    parser.add_argument("--home", type=Path, help="state directory, kept")
    parser.add_argument("--running", action="store_true", help="take an installation that runs")
    parser.add_argument("--files", default="600", help="how many files to count, or `all`")
    parser.add_argument("--specs", type=Path, default=Path("examples/wordcount"))
    parser.add_argument("--no-kill", action="store_true", help="let all workers live")
    asked = parser.parse_args()
    if asked.home is None and not asked.running:
        parser.error("--home or --running is needed")
    home = homes.Home(asked.home) if asked.home else None
    with session.reporting():
        asyncio.run(
            run(
                there(home) if asked.running else started(asked.home),
                asked.files,
                asked.specs,
                victims=None if asked.no_kill else home,
            )
        )


@asynccontextmanager
async def started(home: Path) -> AsyncIterator[Client]:
    """Start an installation in a state directory."""
    began = time.monotonic()
    # The specs say `python3`; this one is there and starts fast, whatever stands first on PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    say(f"starting an installation in {home} ({NODES} logical nodes)")
    running = stack.running(home, nodes=NODES, port=0, settings={"PATH": path}, tell=say)
    async with running as installation, installation.client() as client:
        say(f"it is up after {time.monotonic() - began:.1f} s")
        yield client


@asynccontextmanager
async def there(home: homes.Home | None) -> AsyncIterator[Client]:
    """Connect to an installation that runs."""
    context = session.where(str(home.root) if home else None)
    async with clients.connect(context.url, context.store) as client:
        yield client


async def run(
    installation: AbstractAsyncContextManager[Client],
    wanted: str,
    specs: Path,
    *,
    victims: homes.Home | None,
) -> None:
    """Tell the whole story; raise DemoError if it ends wrongly.

    Args:
        installation: Yields a client of it.
        wanted: How many files to count, or `all`.
        specs: Where the specs lie.
        victims: Where the workers run of which one is killed; None: they all live.
    """
    began = time.monotonic()
    texts = demo_texts.choose(wanted)
    async with installation as client:
        await have_repo(client)
        await publish(client, specs)
        commit = await put(client, texts)
        jobs, violence = await watch(client, victims, commit.id)
        for _ in range(RERUNS):
            if not missed(jobs, violence, victims):
                break
            say("all was counted before a worker could be killed: once more, from the beginning")
            await rerun(client)
            jobs, violence = await watch(client, victims, commit.id, midway=0.0)
        again = await count_again(client, jobs)
        totals = await read_totals(client, jobs[-1].id)
    say("counting once more in one plain process")
    plain = demo_texts.plain_count(texts)
    report(jobs, totals, again, violence)
    say(f"all of it took {time.monotonic() - began:.1f} s")
    check(jobs, totals, plain)


async def have_repo(client: Client) -> None:
    """Create the repo, unless an earlier run did."""
    try:
        await client.call("repo.get", api.Named(name=REPO), api.RepoView)
    except errors.RequestRefusedError as error:
        if error.code != "not-found":
            raise
        request = api.RepoCreate(name=REPO, description="source files of Python's own library")
        await client.call("repo.create", request, records.Repo)
        say(f"repo {REPO} created")


async def publish(client: Client, specs: Path) -> None:
    """Publish both specs, and wait until the coordinator has taken them over.

    In their order: a pipeline whose input does not exist yet would be refused.
    """
    for name, file in zip(PIPELINES, ("words.json", "totals.yaml"), strict=True):
        text = await asyncio.to_thread((specs / file).read_bytes)
        await client.publish_spec(text)
        say(f"{file} published to the subject that takes specs")
        await taken(client, name, text)


async def taken(client: Client, name: str, text: bytes) -> None:
    """Return once the pipeline is what the spec says, or raise what was wrong with it."""
    wanted = spec_parsing.parse(text)
    async with asyncio.timeout(TAKEN_S):
        while True:
            try:
                view = await client.call("pipeline.get", api.Named(name=name), api.PipelineView)
            except errors.RequestRefusedError as error:
                if error.code != "not-found":
                    raise
            else:
                if view.pipeline.refusal:
                    raise errors.InvalidSpecError(view.pipeline.refusal.problems)
                if view.pipeline.spec == wanted:
                    say(f"pipeline {name}: version {view.pipeline.version}")
                    return
            await asyncio.sleep(0.05)


async def put(client: Client, texts: Sequence[files.Source]) -> records.Commit:
    """Put the texts as one commit, in place of whatever an earlier run put."""
    began = time.monotonic()
    commit = await files.put(client, REPO, "master", texts, replace=True)
    took = time.monotonic() - began
    megabytes = commit.size / 1e6
    say(
        f"put {counted(commit.files, 'file')}, {megabytes:.1f} MB, in {took:.1f} s: commit {commit.id[:12]}"
    )
    return commit


def missed(
    jobs: Sequence[records.Job], violence: demo_kill.Violence, victims: homes.Home | None
) -> bool:
    """Return whether a worker was to be killed, and the job was too fast for it."""
    return victims is not None and not violence.killed and jobs[0].counts.processed > 1


async def rerun(client: Client) -> None:
    """Have all words counted anew; the totals follow."""
    identifier = secrets.token_hex(16)
    request = api.PipelineRerun(name=PIPELINES[0], reprocess=True, id=identifier)
    await client.call("pipeline.rerun", request, records.Job)


async def watch(
    client: Client,
    victims: homes.Home | None,
    identifier: str,
    *,
    midway: float = demo_kill.MIDWAY,
) -> tuple[Sequence[records.Job], demo_kill.Violence]:
    """Show the newest job set of a commit until it has ended; kill a worker on the way."""
    violence = demo_kill.Violence(client, victims, midway)
    last: Sequence[records.Job] = []
    named = await following.job_set(client, REPO, identifier)
    with progress.shown() as shown:
        async with aclosing(following.follow(client, named, look_s=0.1)) as looks:
            async for last in looks:
                shown.show(last)
                await violence.look(last[0], shown)
    for job in last:
        say(progress.summary(job))
    return last, violence


async def count_again(client: Client, jobs: Sequence[records.Job]) -> int:
    """Return how many datums needed more than one attempt in this run."""
    again = 0
    for job in jobs:
        async for view in client.datums(job.pipeline, job.id, states=(DatumState.PROCESSED,)):
            again += view.outcome is not None and view.outcome.attempts > 1
    return again


async def read_totals(client: Client, identifier: str) -> Counter[str]:
    """Return what `totals` committed."""
    with tempfile.SpooledTemporaryFile() as text:
        async for piece in files.cat(client, "totals", identifier, "/totals.tsv"):
            text.write(piece)
        text.seek(0)
        lines = (line.decode().rstrip("\n").split("\t") for line in text)
        return Counter({word: int(count) for word, count in lines})


def report(
    jobs: Sequence[records.Job],
    totals: Counter[str],
    again: int,
    violence: demo_kill.Violence,
) -> None:
    """Print what came out."""
    processed = sum(job.counts.processed for job in jobs)
    skipped = sum(job.counts.skipped for job in jobs)
    print_("", "the 20 most frequent words:")
    for word, count in sorted(totals.items(), key=lambda each: (-each[1], each[0]))[:20]:
        print_(f"  {count:>9,}  {word}")
    print_("", f"datums: {processed} processed, {skipped} skipped, {again} run again")
    if violence.redistribution:
        print_(*violence.redistribution.told())
    elif violence.killed:
        print_("each killed worker was between two datums: nothing had to be run again")
    elif processed > 1:
        print_("no worker was killed")
    else:
        print_("nothing was left to run, so no worker was killed")


def check(jobs: Sequence[records.Job], totals: Counter[str], plain: Counter[str]) -> None:
    """Raise DemoError unless all is as it should be."""
    for job in jobs:
        if job.state is not JobState.SUCCESS:
            raise DemoError(progress.summary(job))
    if totals != plain:
        differing = sum(1 for word in totals | plain if totals[word] != plain[word])
        message = f"WRONG: {differing} words differ from the plain count"
        raise DemoError(message)
    say(f"RIGHT: all {len(plain):,} words, {plain.total():,} in sum, as in the plain count")


def say(text: str) -> None:
    """Tell a step on stderr, beside the progress."""
    sys.stderr.write(f"demo: {text}\n")
    sys.stderr.flush()


def print_(*lines: str) -> None:
    """Print a result."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    ending.run(main)
