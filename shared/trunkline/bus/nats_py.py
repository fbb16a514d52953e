"""nats-py, without aiohttp: it imports that for WebSockets, which nobody here speaks.

That was a third of what each process imports, and of how long a command of ours takes to say anything:
0.15 s of CPU. nats-py itself goes on without where it is not installed. Everything of nats-py is
imported from here, so that whichever module comes first comes this way.
"""

import sys

_AIOHTTP = "aiohttp"
_theirs = _AIOHTTP in sys.modules
if not _theirs:
    sys.modules[_AIOHTTP] = None  # type: ignore[assignment]
try:
    from nats.aio.client import Client, Srv
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.aio.transport import Transport
    from nats.errors import Error, ProtocolError
    from nats.protocol import parser
finally:
    if not _theirs:
        del sys.modules[_AIOHTTP]

__all__ = ["Client", "Error", "Msg", "ProtocolError", "Srv", "Subscription", "Transport", "parser"]
