"""Brokers for those that need one: on loopback, on a free port, gone at the end.

Only the standard library is used here: peers run in virtual environments of their own.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

READY_S = 10.0


@contextmanager
def nats(program: str) -> Iterator[str]:
    """Run a nats-server with JetStream on files; yield its URL."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder]
        with _running(command, port):
            yield f"nats://127.0.0.1:{port}"


@contextmanager
def redis() -> Iterator[str]:
    """Run a redis-server that writes nothing to disk; yield its URL."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("there is no redis-server; on Debian: apt-get install redis-server")
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", folder]
        with _running([*command, "--save", "", "--appendonly", "no"], port):
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=silent, stderr=silent) as server:
        try:
            _until_open(server, port)
            yield
        finally:
            server.terminate()
            server.wait()


def _until_open(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{server.args!r} does not open its port")
            time.sleep(0.02)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
