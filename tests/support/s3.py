"""A real S3 on loopback, SeaweedFS in one process: to be stopped, killed and started again.

Installed by `make test-store` only (46 MB). It reports to nobody, and its files are in a directory of
its own. It takes some two seconds to stop, so one that is started again on the same ports waits for
the end of the first.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

BUCKET = "trunkline-tests"
KEY, SECRET = "test-key", "TOPSECRET-of-the-store"
_READY_S = 30.0
_GRPC = 10_000
"""How far a gRPC port must be above its own: the server's worker derives it, whatever it is told."""


class S3Server:
    """`start()`, then `kill()` and `start()` as often as needed; the ports stay."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = _free_ports(("master", "volume", "filer", "s3", "admin"))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def environ(self) -> dict[str, str]:
        """What a process is told that is to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Start it, and return once the bucket is there."""
        ports = [
            option
            for name, port in self._ports.items()
            for option in (f"-{name}.port={port}", f"-{name}.port.grpc={port + _GRPC}")
        ]
        log = (self._directory / "weed.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    _binary(),
                    "-logtostderr=true",
                    "mini",
                    f"-dir={self._directory}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    "-master.telemetry=false",
                    "-s3.autoCreateBucket=false",
                    "-webdav=false",
                    "-admin.ui=false",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    f"-bucket={BUCKET}",
                    f"-filer.localSocket={self._directory}/filer.sock",
                    *ports,
                ],
                env={**os.environ, **self.environ},
                cwd=self._directory,
                stdout=log,
                stderr=log,
            )
        self._await_bucket()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it hear and answer nothing, with all its connections open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _await_bucket(self) -> None:
        import obstore  # noqa: PLC0415 - what follows is of the library's, and so is this
        from obstore.store import S3Store  # noqa: PLC0415

        deadline = time.monotonic() + _READY_S
        store = S3Store(
            BUCKET,
            endpoint=self.endpoint,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        while True:
            assert self._process is not None
            assert self._process.poll() is None, (self._directory / "weed.log").read_text()[-3000:]
            try:
                obstore.put(store, "ready", b"1")
            except (obstore.exceptions.BaseError, FileNotFoundError):  # no bucket yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


def _binary() -> str:
    found = Path(sys.executable).parent / "weed"
    if not found.exists():
        pytest.fail("SeaweedFS is not installed: `make test-store` does that")
    return str(found)


def _free_ports(names: tuple[str, ...]) -> dict[str, int]:
    """Return a port for each name that is free, with the one for gRPC above it."""
    ports: dict[str, int] = {}
    with ExitStack() as held:
        while len(ports) < len(names):
            low = held.enter_context(socket.socket())
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            if port + _GRPC > 65_535:
                continue
            high = held.enter_context(socket.socket())
            try:
                high.bind(("127.0.0.1", port + _GRPC))
            except OSError:
                continue
            ports[names[len(ports)]] = port
    return ports
