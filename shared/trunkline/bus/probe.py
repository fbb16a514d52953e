"""Ask a server whether it is up and knows a user: the handshake alone, without a client."""

import asyncio
import contextlib
import json

from trunkline.bus.logins import Login
from trunkline.contracts import errors


async def accepts(url: str, *, timeout_s: float = 2.0) -> bool:
    """Return whether the server takes the credentials in the url.

    Raises:
        UnavailableError: no server answers there.
    """
    login = Login(url)
    where = f"nats-server at {login.host}:{login.port}"
    try:
        async with asyncio.timeout(timeout_s):
            return await _greet(login)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise errors.UnavailableError(where, str(error) or "no answer") from error


async def _greet(login: Login) -> bool:
    reader, writer = await asyncio.open_connection(login.host, login.port)
    try:
        _, _, said = (await reader.readuntil(b"\r\n")).partition(b" ")  # INFO {...}
        options = {
            "verbose": False,
            "pedantic": False,
            "lang": "python",
            "name": "probe",
            **login.answer(json.loads(said).get("nonce", "")),
        }
        writer.write(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
        answer = await reader.readuntil(b"\r\n")
        return answer.startswith(b"PONG")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
