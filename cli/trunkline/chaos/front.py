"""What stands between NATS and all who speak to it: it cuts, delays, and swallows time.

Bytes are handed on as they are, in order; a connection is cut whole, on both sides at once. While it is
silent, bytes wait and connections stand, as in a network that has lost its way for a while.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

_PIECE_BYTES = 64 * 1024
_AGAIN_S = 0.05


class Front:
    """See the module; `standing` is what `stack.running` takes."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections = set[asyncio.StreamWriter]()
        self._served = set[asyncio.Task[None]]()

    @contextlib.asynccontextmanager
    async def standing(self, ports: Sequence[tuple[int, int]]) -> AsyncIterator[None]:
        """Listen on the first of each two ports, and hand on to the second."""
        servers = [await self._serve(*pair) for pair in ports]
        try:
            yield
        finally:
            self.flow()
            for server in servers:
                server.close()
            while self._served:  # one that was being made is there a moment later
                self.cut()
                await asyncio.wait(self._served, timeout=_AGAIN_S)
            await asyncio.sleep(0)  # an aborted transport closes in the next turn

    def cut(self) -> int:
        """End all connections; return how many that were."""
        count = len(self._connections)
        for writer in self._connections:
            writer.transport.abort()
        return count

    def hold(self) -> None:
        """Let nothing through."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let everything through that has come."""
        self._flowing.set()

    async def _serve(self, port: int, behind: int) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._served.add(task)
            task.add_done_callback(self._served.discard)
            with contextlib.suppress(OSError):
                upstream = await asyncio.open_connection("127.0.0.1", behind)
                await self._between((reader, writer), upstream)
            writer.transport.abort()

        return await asyncio.start_server(connected, "127.0.0.1", port)

    async def _between(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Hand on in both directions until either side ends; then end the other one."""
        writers = {client[1], server[1]}
        self._connections |= writers
        try:
            async with asyncio.TaskGroup() as tasks:
                ways = {
                    tasks.create_task(self._hand_on(client[0], server[1]), name="to NATS"),
                    tasks.create_task(self._hand_on(server[0], client[1]), name="from NATS"),
                }
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
        finally:
            self._connections -= writers
            for writer in writers:
                writer.transport.abort()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
