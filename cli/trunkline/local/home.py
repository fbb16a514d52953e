"""The state directory of an installation on one machine: where what lies, and how to reach it.

`~/.trunkline` unless `TRUNKLINE_HOME` or `--home` says otherwise. All of it is the user's alone
(mode 0700); `context.json` holds a password and is 0600.

| path | what |
|---|---|
| context.json | how a client reaches the installation: URL of NATS, URL of the store |
| lock | held by the supervisor while it runs; its text is the supervisor's process id. Shared by processes that run without one (`single`) |
| nats/ | the server's configuration, credentials and JetStream's files |
| secrets/<name>/<key> | values that commands are given, mode 0600; made by `trunkline create secret` |
| store/ | objects: bytes of files, manifests, runs |
| store.url | the store, where it is another one: a bucket |
| workers/<name>/ | private directories of worker processes |
| metrics.json | where services are scraped, for Prometheus' `file_sd_configs` |
| pool.sock | the process pool's socket |
| pids/<service>.pid | which process is which, to clear up after a killed supervisor |
| logs/<service>.log, .log.1 | what each service wrote on stderr, and what was before that; see `log_files` |
"""

import fcntl
from collections.abc import Mapping
from pathlib import Path

import msgspec

from trunkline.contracts import errors
from trunkline.local import children
from trunkline.runtime import terminals
from trunkline.runtime.private import write_private


class NotRunningError(errors.TrunklineError):
    """A state directory holds no installation that a client could reach."""

    def __init__(self, root: Path, reason: str) -> None:
        super().__init__(
            f"no installation runs in {str(root)!r}: {reason}; start one with `trunkline up`, or name"
            " another by --home, TRUNKLINE_HOME, or TRUNKLINE_URL and TRUNKLINE_STORE"
        )
        self.root, self.reason = root, reason


class UnusableHomeError(errors.TrunklineError):
    """A state directory's name stands in no JSON, and so in no record of ours."""

    def __init__(self, root: Path) -> None:
        super().__init__(f"{str(root)!r} is no UTF-8: choose another directory by --home")
        self.root = root


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """How a client reaches an installation."""

    url: str
    """Of NATS, with the user's name and password."""
    store: str
    """Of the object store."""
    auditor: str = ""
    """Of NATS for who reads records, and changes nothing; empty where that is not known."""
    auditor_data: str = ""
    """The same for outcomes."""


class Home:
    """Paths in one state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()

    @property
    def context(self) -> Path:
        """How a client reaches the installation."""
        return self.root / "context.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor while it runs."""
        return self.root / "lock"

    @property
    def nats(self) -> Path:
        """The server's directory."""
        return self.root / "nats"

    @property
    def store(self) -> Path:
        """The object store's directory."""
        return self.root / "store"

    @property
    def store_url(self) -> str:
        """The object store's URL."""
        return self.store.as_uri()

    @property
    def chosen_store(self) -> Path:
        """The URL of a store that is not the installation's own directory; see `storing`."""
        return self.root / "store.url"

    @property
    def secrets(self) -> Path:
        """Where secrets lie; not made before there is one."""
        return self.root / "secrets"

    @property
    def workers(self) -> Path:
        """Where each worker process has its private directory."""
        return self.root / "workers"

    @property
    def scraped(self) -> Path:
        """Where services are scraped; see `scraping`."""
        return self.root / "metrics.json"

    @property
    def pool_socket(self) -> Path:
        """Where the process pool listens."""
        return self.root / "pool.sock"

    @property
    def pids(self) -> Path:
        """One file per service that runs."""
        return self.root / "pids"

    @property
    def logs(self) -> Path:
        """One file per service."""
        return self.root / "logs"

    def make(self) -> None:
        """Create the directories that are missing, for this user alone.

        Raises:
            UnusableHomeError: they cannot be written down.
        """
        if terminals.is_undecoded(str(self.root)):
            raise UnusableHomeError(self.root)
        for path in (self.root, self.nats, self.store, self.workers, self.pids, self.logs):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def supervisor(self) -> int | None:
        """Return the process id of the supervisor that runs here, if one does."""
        try:
            with self.lock.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read().strip() or 0) or None
        except (OSError, ValueError):
            return None
        return None

    def read_context(self) -> Context:
        """Return how to reach the installation, or raise NotRunningError."""
        alone = self.lock.exists() and self.supervisor() is None
        if alone and not children.recorded(self.pids):
            raise NotRunningError(self.root, "it is not running")
        try:
            return msgspec.json.decode(self.context.read_bytes(), type=Context)
        except FileNotFoundError:
            raise NotRunningError(self.root, "nothing was ever started there") from None
        except (OSError, msgspec.DecodeError) as error:
            raise NotRunningError(self.root, f"context.json cannot be read ({error})") from error

    def write_context(self, context: Context) -> None:
        """Replace context.json as a whole; a reader sees the old one or the new one."""
        write_private(self.context, msgspec.json.format(msgspec.json.encode(context)))


def default_root(environ: Mapping[str, str]) -> Path:
    """Return the state directory that the environment names, or `~/.trunkline`."""
    return Path(environ.get("TRUNKLINE_HOME") or "~/.trunkline").expanduser()
