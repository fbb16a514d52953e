"""What stands in the directory of an installation's NATS servers: which files, ports and processes.

credentials.json                      the truth, see `credentials`
server.conf, server.pid, jetstream/   of a server that is alone
server-1.conf, ...                    of the first of several, and so on
"""

import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec

from trunkline.bus import accounts
from trunkline.contracts.durability import SYNC_INTERVAL

DEFAULT_PORT = 4222
ANY_FIRST, ANY_COUNT = 10_000, 20_000
"""Where a free port is looked for: below those that the kernel gives to outgoing connections. One of
these could go to some client while the server is down for a moment, or even connect to itself."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What credentials.json holds."""

    port: int
    """Of the first server."""
    behind: tuple[int, ...] = ()
    """Where the servers listen themselves, when something else stands in front of them on their ports."""
    passwords: dict[str, str]
    data_key: str = ""
    """What all wards are made of; empty in a file of before there were any."""
    others: tuple[int, ...] = ()
    """Of the other servers of a cluster."""
    routes: tuple[int, ...] = ()
    """Where the servers of a cluster reach each other; none for one that is alone."""
    route_password: str = ""
    sync_interval: str = SYNC_INTERVAL
    """See `accounts.ServerSettings`."""

    @property
    def ports(self) -> tuple[int, ...]:
        """Of all servers."""
        return (self.port, *self.others)

    def url(self, user: str, *, server: int | None = None) -> str:
        """Return the URL by which a user reaches the servers, or one of them (from 1)."""
        ports = self.ports if server is None else (self.ports[server - 1],)
        who = f"{quote(user)}:{self.passwords[user]}"
        return ",".join(f"nats://{who}@127.0.0.1:{port}" for port in ports)

    def settings(self, server: "ServerFiles", number: int) -> accounts.ServerSettings:
        """Return what one server (from 1) is told."""
        member = None
        if self.routes:
            member = accounts.Membership(
                name=f"nats-{number}",
                port=self.routes[number - 1],
                routes=self.routes,
                password=self.route_password,
            )
        return accounts.ServerSettings(
            port=(self.behind or self.ports)[number - 1],
            store_dir=str(server.store),
            pid_file=str(server.pid),
            sync_interval=self.sync_interval,
            member=member,
        )


class ServerFiles:
    """What one server reads and writes: the only one, or one of several."""

    def __init__(self, directory: Path, number: int, *, alone: bool) -> None:
        mark = "" if alone else f"-{number}"
        directory = directory.absolute()
        self.config = directory / f"server{mark}.conf"
        self.pid = directory / f"server{mark}.pid"
        self.store = directory / f"jetstream{mark}"

    @property
    def process(self) -> int | None:
        """The process id in the pid file, if it still is that server.

        After kill -9 the file stays, and its number may belong to anybody.
        """
        try:
            pid = int(self.pid.read_text())
        except (OSError, ValueError):
            return None
        return pid if str(self.config) in _command_line(pid) else None

    def reload(self) -> bool:
        """Have the server read its configuration again; return whether it runs."""
        pid = self.process
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGHUP)
        except ProcessLookupError:
            return False
        return True


class Files:
    """The servers' directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.credentials = self.directory / "credentials.json"
        self.lock = self.directory / "lock"

    def server(self, number: int = 1, *, of: int = 1) -> ServerFiles:
        """Return the files of one server (from 1) of so many."""
        return ServerFiles(self.directory, number, alone=of == 1)

    def read(self) -> Credentials | None:
        """Return the credentials, if there are any."""
        try:
            return msgspec.json.decode(self.credentials.read_bytes(), type=Credentials)
        except FileNotFoundError:
            return None

    def servers(self, present: Credentials) -> Iterator[tuple[int, ServerFiles]]:
        """Yield each server's number and files."""
        count = len(present.ports)
        for number in range(1, count + 1):
            yield number, self.server(number, of=count)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        if Path("/proc/self/cmdline").exists():
            return ""
    command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout


def port(wanted: int | None, last: int | None) -> int:
    """Return the port to listen on: the wanted one; for None the last one, or 4222; or any (0)."""
    if wanted:
        return wanted
    if wanted is None:
        if last:
            return last
        if _free(DEFAULT_PORT):
            return DEFAULT_PORT
    return more(set(), 1)[0]


def more(taken: set[int], count: int) -> tuple[int, ...]:
    """Return so many further ports that are free."""
    found: list[int] = []
    while len(found) < count:
        any_port = ANY_FIRST + secrets.randbelow(ANY_COUNT)
        if any_port not in taken and any_port not in found and _free(any_port):
            found.append(any_port)
    return tuple(found)


def _free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
