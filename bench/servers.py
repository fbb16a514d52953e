"""A bare nats-server for those that need one."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def nats(program: str) -> Iterator[str]:
    """Run a nats-server with JetStream on files; yield its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
            try:
                for _ in range(200):
                    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                        break
                    time.sleep(0.05)
                yield f"nats://127.0.0.1:{port}"
            finally:
                server.terminate()
                server.wait()
