"""A way to the server on which frames get lost, for faults that a real server never shows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit, urlunsplit

Lose = Callable[[bytes], bool]
"""Takes a frame (a line, with the message after it) and says whether it is to be lost."""

_WITH_PAYLOAD = (b"PUB", b"HPUB", b"MSG", b"HMSG")


class Proxy:
    """Between a client and the server; by default nothing is lost."""

    def __init__(self) -> None:
        self.up: Lose = _nothing
        """For frames to the server."""
        self.down: Lose = _nothing
        """For frames from the server."""
        self.lost = 0
        self.clients: list[asyncio.StreamWriter] = []

    def say(self, frame: bytes) -> None:
        """Say something to all clients in the server's place."""
        for client in self.clients:
            client.write(frame)

    async def relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        """Hand over frames until either side closes."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await reader.readuntil(b"\r\n")
                verb = frame.partition(b" ")[0].upper()
                if verb in _WITH_PAYLOAD:
                    frame += await reader.readexactly(int(frame.split()[-1]) + 2)
                if (self.up if up else self.down)(frame):
                    self.lost += 1
                    continue
                writer.write(frame)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def between(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Yield a proxy before the server at the url, and the url that leads through it."""
    parts = urlsplit(url)
    proxy = Proxy()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.clients.append(writer)
        to_server = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 21)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(proxy.relay(reader, to_server[1], up=True), name="up")
            tasks.create_task(proxy.relay(to_server[0], writer, up=False), name="down")

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 21)
    port = server.sockets[0].getsockname()[1]
    netloc = f"{parts.netloc.rpartition(':')[0]}:{port}"
    try:
        yield proxy, urlunsplit(parts._replace(netloc=netloc))
    finally:
        server.close()


def once(marker: bytes, *, after: int = 0) -> Lose:
    """Lose one frame that has the marker in it: the first after so many of them."""
    return _Once(marker, after)


class _Once:
    def __init__(self, marker: bytes, after: int) -> None:
        self._marker, self._left = marker, after

    def __call__(self, frame: bytes) -> bool:
        if self._marker not in frame:
            return False
        self._left -= 1
        return self._left == -1


def _nothing(_: bytes) -> bool:
    return False
