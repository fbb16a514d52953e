"""What the process pool of an installation says of its workers."""

import asyncio

import msgspec

from trunkline.contracts import errors
from trunkline.local import pool_wire
from trunkline.local.home import Home

_ANSWER_S = 2.0


async def workers(home: Home) -> list[tuple[str, int]]:
    """Return name and process id of each worker.

    Raises:
        UnavailableError: the pool does not answer. OSError: there is none.
    """
    with pool_wire.address(home.pool_socket) as address:
        reader, writer = await asyncio.open_unix_connection(address)
    try:
        writer.write(msgspec.json.encode(pool_wire.List(id=1)) + b"\n")
        async with asyncio.timeout(_ANSWER_S):
            line = await reader.readline()
        answer = msgspec.json.decode(line, type=pool_wire.Answer)
    except (TimeoutError, msgspec.DecodeError) as error:
        raise errors.UnavailableError("the process pool", "no answer") from error
    finally:
        writer.close()
    return [(each.name, each.pid) for each in answer.workers]
