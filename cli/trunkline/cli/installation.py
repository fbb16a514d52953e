"""Verbs on an installation as a whole: up, down, status."""

import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec

from trunkline.bus import logins
from trunkline.chaos import serving
from trunkline.cli import render, saying, session
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api, errors
from trunkline.local import home as homes
from trunkline.local import log_files, scraping, stack
from trunkline.runtime import logs, stopping

log = logging.getLogger(__name__)

SUPERVISOR = "supervisor.log"
"""Among the logs of an installation: what its supervisor says."""
DOWN_S = 60.0
"""How long an installation may take to stop: its workers finish what they are at."""


class NoStartError(errors.TrunklineError):
    """A detached supervisor ended before it was up."""


class NoStopError(errors.UnavailableError):
    """A supervisor did not stop in time."""

    def __init__(self, pid: int) -> None:
        super().__init__("the end of the installation", f"process {pid} runs on after {DOWN_S:g} s")


def up(
    home: str | None,
    *,
    nodes: int | None,
    port: int | None,
    servers: int | None,
    store: str | None,
    detach: bool,
    standbys: bool = False,
    chaos: int | None = None,
) -> None:
    """Run an installation until Ctrl-C, or leave it running; or break it all the time, by a seed."""
    place = session.home_of(home)
    serve = stack.serve if chaos is None else functools.partial(serving.serve, seed=chaos)
    with session.reporting():
        if detach:
            asked = {"--nodes": nodes, "--port": port, "--servers": servers}
            given = {name: value for name, value in asked.items() if value is not None}
            _detached(place, given, store=store, standbys=standbys)
        else:
            with _kept(place) as tell:
                stopping.run(
                    serve(
                        place,
                        nodes=nodes,
                        port=port,
                        servers=servers,
                        store=store,
                        standbys=standbys,
                        tell=tell,
                    )
                )


@contextlib.contextmanager
def _kept(home: homes.Home) -> Iterator[Callable[[str], None]]:
    """Yield what tells people a line and keeps it in the log: it is there when the terminal is gone."""
    home.make()
    with (home.logs / SUPERVISOR).open("a") as file:
        logs.configure("supervisor", stream=file)

        def tell(text: str) -> None:
            log.info(text)
            saying.tell(text)

        yield tell


def _detached(
    home: homes.Home, options: Mapping[str, object], *, store: str | None, standbys: bool
) -> None:
    """Start a supervisor that outlives this process, and wait until it is up.

    The store's URL goes by the environment: what a command is started with, everybody on the machine can read.
    """
    pid = home.supervisor()
    if pid:
        raise stack.AlreadyRunningError(home.root, str(pid))
    home.make()
    command = [sys.executable, "-m", "trunkline.local", "--home", str(home.root)]
    command += [str(each) for option in options.items() for each in option]
    if standbys:
        command.append("--standbys")
    kept = home.logs / SUPERVISOR
    log_files.rotate(kept)  # while nobody writes: it is read from where it ends now
    begin = kept.stat().st_size if kept.exists() else 0
    with kept.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env={**os.environ, "TRUNKLINE_STORE": store or ""},
        )
    while process.poll() is None:
        with kept.open("rb") as told:
            told.seek(begin)
            if b"store: " in told.read():
                context = home.read_context()
                saying.tell(f"up as process {process.pid}; state in {home.root}")
                saying.tell(
                    f"NATS:  {logins.shown(context.url)}; with the password in {home.context}"
                )
                saying.tell(f"metrics: {' '.join(scraping.addresses(home).values())}")
                return
        time.sleep(0.05)
    with kept.open("rb") as told:
        told.seek(begin)
        raise NoStartError(told.read().decode(errors="replace").strip())


def down(home: str | None) -> None:
    """Stop the installation in a state directory, and wait until it is gone."""
    place = session.home_of(home)
    with session.reporting():
        pid = place.supervisor()
        if pid is None:
            raise homes.NotRunningError(place.root, "there is nothing to stop")
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + DOWN_S
        while place.supervisor() == pid:
            if time.monotonic() > deadline:
                raise NoStopError(pid)
            time.sleep(0.05)
        saying.tell("stopped")


def status(asked: Asked) -> None:
    """Show what the installation says of itself."""

    async def body(client: Client) -> None:
        found = await client.call("status", None, api.Status)
        place = session.here(asked.home)
        metrics = scraping.addresses(place) if place is not None else {}
        render.record(asked, msgspec.structs.replace(found, metrics=metrics))

    session.run(asked, body)
