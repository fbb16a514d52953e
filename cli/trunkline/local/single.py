"""One process of an installation on one machine, for who starts and stops each of them himself.

    python -m trunkline.local.single --home DIR nats-server | pool | coordinator | scaler

It prepares the state directory as `trunkline up` does, and turns into the service, so that signals and the
exit code are the service's own. Nothing is started again and nothing is stopped in order: that is left
to the one who called, such as Tilt, which starts a process anew when its code changes.

    shared lock taken -> a former process of that name ended -> files written -> pid file written -> exec

The lock goes with the last of these processes and keeps a supervisor away from the directory, as a supervisor's keeps
them away. All of them write the same files, each as a whole, so that it does not matter who is first; the port is
named, since none of them may choose another. A crash before the exec leaves files that the next one writes again. A caller that is
killed leaves the service behind, and its pid file, by which the next process of that name ends it.
"""

import argparse
import asyncio
import fcntl
import logging
import os
import resource
import sys
from pathlib import Path
from typing import NoReturn

from trunkline.contracts import errors
from trunkline.local import children, layout, scraping, stack, storing
from trunkline.local import home as homes
from trunkline.local.children import Service
from trunkline.runtime import logs
from trunkline.storage.store import open_store

log = logging.getLogger("trunkline.local")


def main() -> None:
    """Become the service."""
    parser = argparse.ArgumentParser(prog="python -m trunkline.local.single")
    parser.add_argument("service", help="nats-server, pool, coordinator or scaler")
    parser.add_argument("--home", type=Path, default=homes.default_root(os.environ))
    parser.add_argument(
        "--port",
        type=int,
        required=True,
        help="of NATS; the same one for all. Probes are answered on the next ones",
    )
    asked = parser.parse_args()
    logs.configure(asked.service)
    home = homes.Home(asked.home)
    try:
        become(prepare(home, asked.service, asked.port), home)
    except errors.TrunklineError as error:
        log.error("cannot run", extra={"reason": str(error)})  # noqa: TRY400 - told, not traced
        sys.exit(1)


def prepare(home: homes.Home, name: str, port: int) -> Service:
    """Take a share in the directory, and write what the service reads; return what is to run.

    Raises:
        AlreadyRunningError: A supervisor has the directory.
        NotFoundError: There is no such service.
    """
    home.make()
    _share(home)
    for left in asyncio.run(children.clear_leftovers(home.pids, only=name)):
        log.warning("ended what was left", extra={"child": left})
    store = storing.choose(home, os.environ.get("TRUNKLINE_STORE") or None)
    open_store(store)  # one that cannot be meant is told before anything is written
    probes = os.environ.get("TRUNKLINE_PROBE_PORT") or str(port + 1)
    settings = {"TRUNKLINE_PROBE_PORT": probes}
    plan = layout.prepare(home, port=port, servers=None, store_url=store, settings=settings)
    services = {each.name: each for each in plan.services}
    if name not in services:
        raise errors.NotFoundError("service", name, f"there are {', '.join(services)}")
    home.write_context(plan.context)
    with scraping.listening(
        home, plan.services
    ):  # each listens by itself; only the file is written
        pass
    storing.keep(home, store)
    return services[name]


def become(service: Service, home: homes.Home) -> NoReturn:
    """Turn into the service."""
    if service.many_files:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    children.record(home.pids, service.name, os.getpid())
    os.execve(service.command[0], service.command, {**os.environ, **service.env})  # noqa: S606


def _share(home: homes.Home) -> None:
    """Hold the directory together with others of our kind, in what we become, too."""
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise stack.AlreadyRunningError(home.root, str(home.supervisor() or "")) from None
    os.set_inheritable(descriptor, True)


if __name__ == "__main__":
    main()
