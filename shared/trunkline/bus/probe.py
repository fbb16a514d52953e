"""Ask servers whether they are up and know a user: the handshake alone, without a client."""

import asyncio
import contextlib
import json

from trunkline.bus.logins import Login
from trunkline.contracts import errors


async def accepts(url: str, *, timeout_s: float = 2.0) -> bool:
    """Return whether every server in the url that answers takes the credentials in it.

    Raises:
        UnavailableError: no server answers there.
    """
    login = Login(url)
    asked = (_accepts(login, host, port, timeout_s) for host, port in login.places)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    away = [each for each in answers if isinstance(each, BaseException)]
    if len(away) == len(answers) or not all(
        isinstance(each, errors.UnavailableError) for each in away
    ):
        raise away[0]
    return all(each for each in answers if not isinstance(each, BaseException))


async def _accepts(login: Login, host: str, port: int, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            return await _greet(login, host, port)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        where = f"nats-server at {host}:{port}"
        raise errors.UnavailableError(where, str(error) or "no answer") from error


async def _greet(login: Login, host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
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
