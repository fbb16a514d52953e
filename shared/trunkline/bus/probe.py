"""Ask a server whether it is up and knows a user: the handshake alone, without a client."""

import asyncio
import contextlib
import json
from urllib.parse import unquote, urlsplit

from trunkline.contracts import errors


async def accepts(url: str, *, timeout_s: float = 2.0) -> bool:
    """Return whether the server takes the credentials in the url.

    Raises:
        UnavailableError: no server answers there.
    """
    parts = urlsplit(url)
    where = f"nats-server at {parts.hostname}:{parts.port}"
    try:
        async with asyncio.timeout(timeout_s):
            return await _greet(
                parts.hostname or "",
                parts.port or 4222,
                {"user": unquote(parts.username or ""), "pass": unquote(parts.password or "")},
            )
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise errors.UnavailableError(where, str(error) or "no answer") from error


async def _greet(host: str, port: int, credentials: dict[str, str]) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        await reader.readuntil(b"\r\n")  # INFO
        options = {
            "verbose": False,
            "pedantic": False,
            "lang": "python",
            "name": "probe",
            **credentials,
        }
        writer.write(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
        answer = await reader.readuntil(b"\r\n")
        return answer.startswith(b"PONG")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
