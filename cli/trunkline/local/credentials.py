"""Users and passwords of an installation on one machine, and new ones while the server runs.

Two files below the server's directory, both 0600 and replaced as a whole: `credentials.json` (the
truth: port, passwords and the data key) and `server.conf` (rendered from it). Adding a pipeline's worker goes

    lock -> credentials.json -> server.conf -> SIGHUP -> the server accepts it

and is level-triggered: whoever asks again, after a crash between any two steps, renders the same
file again and goes on until the server takes the credential. Revoking one goes the same way. A server that is down or restarting
reads the new file when it comes up. Passwords are random and never change, so that a reload
disconnects nobody.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec

from trunkline.bus import accounts, probe
from trunkline.contracts import errors
from trunkline.contracts.wards import Wards
from trunkline.runtime.private import write_private
from trunkline.scaler import ports as issued

log = logging.getLogger(__name__)

DEFAULT_PORT = 4222
ACCEPTED_S = 15.0
"""Within which a server must take a new credential; a restart of it takes one second."""
LOOK_S = 0.02
"""Seconds between asks whether it does."""

SERVICE_USERS = (
    "user",
    "coordinator",
    "coordinator-data",
    "scaler",
    "scaler-data",
    "auditor",
    "auditor-data",
)


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What credentials.json holds."""

    port: int
    passwords: dict[str, str]
    data_key: str = ""
    """What all wards are made of; empty in a file of before there were any."""

    def url(self, user: str) -> str:
        """Return the URL by which a user reaches the server."""
        return f"nats://{quote(user)}:{self.passwords[user]}@127.0.0.1:{self.port}"


class Files:
    """The server's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.credentials = self.directory / "credentials.json"
        self.config = self.directory / "server.conf"
        self.pid = self.directory / "server.pid"
        self.store = self.directory / "jetstream"
        self.lock = self.directory / "lock"


def prepare(directory: Path, *, port: int | None = None) -> Credentials:
    """Make sure that the directory holds credentials and a configuration; return the former.

    Args:
        directory: The server's own; made if it is not there.
        port: To listen on; None: the one of the last time, or 4222, or any that is free; 0: any.
    """
    files = Files(directory)
    files.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(files):
        present = _read(files)
        passwords = dict(present.passwords) if present is not None else {}
        for user in SERVICE_USERS:
            passwords.setdefault(user, secrets.token_urlsafe(24))
        data_key = present.data_key if present is not None else ""
        found = Credentials(
            port=_port(port, present),
            passwords=passwords,
            data_key=data_key or secrets.token_urlsafe(32),
        )
        _write(files, found)
    return found


class LocalIssuer:
    """Makes the credentials of a pipeline's workers for a server on this machine."""

    def __init__(self, directory: Path) -> None:
        self._files = Files(directory)
        self.name = "passwords"

    async def worker_url(self, pipeline: str) -> str:
        """Return a URL that the server accepts for the pipeline's workers.

        Raises:
            UnavailableError: the server does not accept it, or is not up; ask again.
            InvalidNameError: the pipeline's name could not stand in a configuration.
        """
        user = accounts.worker_user(pipeline)
        url = self._add(user).url(user)
        try:
            async with asyncio.timeout(ACCEPTED_S):
                while not await self._accepts(url):  # noqa: ASYNC110 - another process's state
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise errors.UnavailableError(
                "nats-server", f"it does not accept user {user!r}; see its log"
            ) from None
        return url

    async def issue(self, pipeline: str) -> issued.Credentials:
        """Return that URL as the scaler is given credentials."""
        text = await self.worker_url(pipeline)
        return issued.Credentials(text=text, held=issued.Held(issued_at=0, issuer=self.name))

    async def revoke(self, pipeline: str) -> None:
        """Forget the pipeline's user: the server ends its connections, and knows it no more."""
        with _locked(self._files):
            present = _read(self._files)
            if present is None:
                return
            user = accounts.worker_user(pipeline)
            passwords = {each: word for each, word in present.passwords.items() if each != user}
            _write(self._files, msgspec.structs.replace(present, passwords=passwords))
        reload(self._files.directory)

    def _add(self, user: str) -> Credentials:
        with _locked(self._files):
            present = _read(self._files)
            if present is None:
                raise errors.NotFoundError("credentials", str(self._files.credentials))
            if user not in present.passwords:
                passwords = {**present.passwords, user: secrets.token_urlsafe(24)}
                present = msgspec.structs.replace(present, passwords=passwords)
                _write(self._files, present)
                log.info("credential made", extra={"user": user})
            return present

    async def _accepts(self, url: str) -> bool:
        """Ask the server; when it is up and does not know the user, have it read its file again."""
        try:
            if await probe.accepts(url):
                return True
        except errors.UnavailableError:
            return False
        with _locked(self._files):
            present = _read(self._files)
            if present is not None:  # a crash may have come between the two files
                _write(self._files, present)
        reload(self._files.directory)
        return False


def reload(directory: Path) -> bool:
    """Have the server read its configuration again; return whether one runs there."""
    pid = server_pid(directory)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGHUP)
        return True
    return False


def server_pid(directory: Path) -> int | None:
    """Return the process id in the server's pid file, if it still is that server.

    After kill -9 the file stays, and its number may belong to anybody.
    """
    files = Files(directory)
    try:
        pid = int(files.pid.read_text())
    except (OSError, ValueError):
        return None
    return pid if str(files.config) in _command_line(pid) else None


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        if Path("/proc/self/cmdline").exists():
            return ""
    command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout


ANY_FIRST, ANY_COUNT = 10_000, 20_000
"""Where a free port is looked for: below those that the kernel gives to outgoing connections. One of
these could go to some client while the server is down for a moment, or even connect to itself."""


def _port(wanted: int | None, present: Credentials | None) -> int:
    if wanted:
        return wanted
    if wanted is None:
        if present is not None:
            return present.port
        if _free(DEFAULT_PORT):
            return DEFAULT_PORT
    while True:
        port = ANY_FIRST + secrets.randbelow(ANY_COUNT)
        if _free(port):
            return port


def _free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _read(files: Files) -> Credentials | None:
    try:
        return msgspec.json.decode(files.credentials.read_bytes(), type=Credentials)
    except FileNotFoundError:
        return None


def _write(files: Files, credentials: Credentials) -> None:
    write_private(files.credentials, msgspec.json.format(msgspec.json.encode(credentials)))
    settings = accounts.ServerSettings(
        port=credentials.port, store_dir=str(files.store), pid_file=str(files.pid)
    )
    config = accounts.render_config(settings, credentials.passwords, Wards(credentials.data_key))
    with contextlib.suppress(FileNotFoundError):
        if files.config.read_text() == config:
            return
    write_private(files.config, config.encode())


@contextlib.contextmanager
def _locked(files: Files) -> Iterator[None]:
    """Let no two processes change the files at once; held for milliseconds."""
    with files.lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
