r"""NATS message headers: the block before the data, and the status line in it.

NATS/1.0[ <status>[ <description>]]\r\n
<name>: <value>\r\n ...
\r\n
"""

from collections.abc import Mapping

MSG_ID = "Nats-Msg-Id"
EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"
STREAM_SUBJECT = "Nats-Subject"
STREAM_SEQUENCE = "Nats-Sequence"
TIME_STAMP = "Nats-Time-Stamp"
PENDING = "Nats-Pending-Messages"
LEFT = "Nats-Num-Pending"
KV_OPERATION = "KV-Operation"
TTL = "Nats-TTL"
ROLLUP = "Nats-Rollup"

_LINE = b"NATS/1.0"
_BREAKS = str.maketrans({"\r": " ", "\n": " "})


def encode(values: Mapping[str, str]) -> bytes:
    """Return the header block; a line break in a value becomes a space, so that none can inject."""
    lines = [f"{name}: {value.translate(_BREAKS)}\r\n" for name, value in values.items()]
    return f"NATS/1.0\r\n{''.join(lines)}\r\n".encode()


def with_id(msg_id: str, values: Mapping[str, str]) -> bytes:
    """Return the header block of a message that the stream is to know again."""
    return encode({MSG_ID: msg_id, **values})


def decode(block: bytes | None) -> dict[str, str]:
    """Return the headers by name, without the status line."""
    if not block:
        return {}
    values: dict[str, str] = {}
    for line in block.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            values[name.strip().decode("ascii", "replace")] = value.strip().decode(
                "utf-8", "replace"
            )
    return values


def status(block: bytes | None) -> tuple[int, str]:
    """Return the status and its description; (0, "") for a message without one."""
    if not block or not block.startswith(_LINE + b" "):
        return 0, ""
    line = block[len(_LINE) + 1 : block.find(b"\r\n")]
    code, _, description = line.strip().partition(b" ")
    return (int(code) if code.isdigit() else 0), description.decode("utf-8", "replace")
