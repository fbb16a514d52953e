"""Users and passwords of an installation on one machine, and new ones while its servers run.

Files below the servers' directory, all 0600 and replaced as a whole: `credentials.json` (the truth:
ports, passwords and the data key) and each server's configuration, rendered from it. Adding a pipeline's worker goes

    lock -> credentials.json -> server.conf -> SIGHUP -> the servers that are up accept it

and is level-triggered: whoever asks again, after a crash between any two steps, renders the same
file again and goes on until the server takes the credential. Revoking one goes the same way. A server that is down or restarting
reads the new file when it comes up. Passwords are random and never change, so that a reload
disconnects nobody.
"""

import asyncio
import contextlib
import fcntl
import logging
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from trunkline.bus import accounts, probe
from trunkline.contracts import errors
from trunkline.contracts.wards import Wards
from trunkline.local import server_files
from trunkline.local.server_files import Credentials, Files
from trunkline.runtime.private import write_private
from trunkline.scaler import ports as issued

log = logging.getLogger(__name__)

ACCEPTED_S = 15.0
"""Within which a server must take a new credential; a restart of it takes one second."""
LOOK_S = 0.02
"""Seconds between asks whether it does."""
AGAIN_S = 1.0
"""Seconds after which a server that does not is told again, though nothing has changed: it may have come up meanwhile."""

_DEFAULTS = Credentials(port=0, passwords={})
SERVICE_USERS = (
    "user",
    "coordinator",
    "coordinator-data",
    "scaler",
    "scaler-data",
    "auditor",
    "auditor-data",
)


class AnotherNumberError(errors.TrunklineError):
    """An installation is to be started with another number of servers than it was made with."""

    def __init__(self, asked: int, kept: int) -> None:
        super().__init__(
            f"this installation was made with {kept} NATS server{'s' * (kept > 1)}, and its streams are"
            f" there: it cannot go on with {asked}; leave --servers away, or choose another --home"
        )
        self.asked, self.kept = asked, kept


def prepare(
    directory: Path,
    *,
    port: int | None = None,
    servers: int | None = None,
    sync_interval: str | None = None,
    fronted: bool = False,
) -> Credentials:
    """Make sure that the directory holds credentials and configurations; return the former.

    Args:
        directory: The servers' own; made if it is not there.
        port: To listen on; None: the one of the last time, or 4222, or any that is free; 0: any.
            Of several servers the first one's; the others take any.
        servers: How many; None: as many as the last time, or one.
        sync_interval: See `accounts.ServerSettings`; None: as the last time.
        fronted: Whether something else takes the servers' ports, and they any others.

    Raises:
        AnotherNumberError: it was another number the last time.
    """
    files = Files(directory)
    files.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(files):
        present = files.read()
        passwords = dict(present.passwords) if present is not None else {}
        for user in SERVICE_USERS:
            passwords.setdefault(user, secrets.token_urlsafe(24))
        data_key = present.data_key if present is not None else ""
        kept = len(present.ports) if present is not None and present.passwords else None
        if kept is not None and servers not in (None, kept):
            raise AnotherNumberError(servers or 0, kept)
        first = server_files.port(port, present.port if present is not None else None)
        found = Credentials(
            port=first,
            passwords=passwords,
            data_key=data_key or secrets.token_urlsafe(32),
            **_cluster(first, servers or kept or 1, present),
            sync_interval=sync_interval or (present or _DEFAULTS).sync_interval,
        )
        if fronted:
            behind = server_files.more(set(found.ports), len(found.ports))
            found = msgspec.structs.replace(found, behind=behind)
        _write(files, found)
    return found


def _cluster(first: int, count: int, present: Credentials | None) -> dict[str, Any]:
    """Return what the servers of a cluster have beside the first one's port; it never changes."""
    if count == 1:
        return {}
    if present is not None and present.routes:
        return {each: getattr(present, each) for each in ("others", "routes", "route_password")}
    ports = server_files.more({first}, 2 * count - 1)
    return {
        "others": ports[: count - 1],
        "routes": ports[count - 1 :],
        "route_password": secrets.token_urlsafe(24),
    }


class LocalIssuer:
    """Makes the credentials of a pipeline's workers for a server on this machine.

    Whoever waits for a server to read its file does not tell it again what it was just told: many who wait at once would
    keep it reading, and while it does it takes nobody new.
    """

    def __init__(self, directory: Path) -> None:
        self._files = Files(directory)
        self.name = "passwords"
        self._told: Credentials | None = None
        self._told_s = 0.0

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

    async def revoke(self, pipeline: str, issued_at: float = 0.0) -> None:  # noqa: ARG002
        """Forget the pipeline's user: the server ends its connections, and knows it no more."""
        with _locked(self._files):
            present = self._files.read()
            if present is None:
                return
            user = accounts.worker_user(pipeline)
            passwords = {each: word for each, word in present.passwords.items() if each != user}
            _write(self._files, msgspec.structs.replace(present, passwords=passwords))
        reload(self._files.directory)

    def _add(self, user: str) -> Credentials:
        with _locked(self._files):
            present = self._files.read()
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
            present = self._files.read()
            now_s = time.monotonic()
            if present == self._told and now_s < self._told_s + AGAIN_S:
                return False
            if present is not None:  # a crash may have come between the two files
                _write(self._files, present)
            self._told, self._told_s = present, now_s
        reload(self._files.directory)
        return False


def reload(directory: Path) -> bool:
    """Have all servers read their configuration again; return whether one runs there."""
    files = Files(directory)
    present = files.read()
    found = [each.reload() for _, each in files.servers(present)] if present else []
    return any(found)


def _write(files: Files, credentials: Credentials) -> None:
    write_private(files.credentials, msgspec.json.format(msgspec.json.encode(credentials)))
    wards = Wards(credentials.data_key)
    for number, server in files.servers(credentials):
        settings = credentials.settings(server, number)
        config = accounts.render_config(settings, credentials.passwords, wards)
        with contextlib.suppress(FileNotFoundError):
            if server.config.read_text() == config:
                continue
        write_private(server.config, config.encode())


@contextlib.contextmanager
def _locked(files: Files) -> Iterator[None]:
    """Let no two processes change the files at once; held for milliseconds."""
    with files.lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
