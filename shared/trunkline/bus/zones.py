"""The four accounts, and what passes between them, for every form of a server's configuration.

The forms are `accounts` (users with passwords) and `operator` (signed claims).

USERS imports two services of CTL, and the server says there who asks. In DATA, what only our services
may reach stands under hidden names (see `contracts.wards`): the server's word on who came and went,
and JetStream's API. The server imports the API into every account with JetStream by itself, as
`$JS.API.>`, unless the account imports something of SYS under that name already; so it does, and what
it imports is nobody's.
"""

from typing import Literal

import msgspec

from trunkline.bus import permissions
from trunkline.contracts import subjects
from trunkline.contracts.wards import Wards

Account = Literal["USERS", "CTL", "DATA", "SYS"]

ACCOUNT_OF: dict[permissions.Role, Account] = {
    "user": "USERS",
    "coordinator": "CTL",
    "scaler": "CTL",
    "coordinator-data": "DATA",
    "scaler-data": "DATA",
    "auditor": "CTL",
    "auditor-data": "DATA",
    "worker": "DATA",
    "issuer": "SYS",
}

_API = f"{permissions.API}.>"
_NOWHERE = f"{subjects.ROOT}.nowhere.>"
CONNECTIONS = (subjects.SYS_DISCONNECTS, subjects.SYS_CONNECTS)
"""What SYS tells of DATA; the token of the account is spelled as each form of configuration does."""


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """What an account lets others have."""

    kind: Literal["service", "stream"]
    subject: str
    to: Account


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has of another; the server tells a service who asks."""

    kind: Literal["service", "stream"]
    of: Account
    subject: str
    """As the other account knows it."""
    here: str
    """As it is known in this one."""


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """One account."""

    name: Account
    jetstream: bool
    exports: tuple[Export, ...] = ()
    imports: tuple[Import, ...] = ()


def zones(wards: Wards) -> tuple[Zone, ...]:
    """Return the accounts of an installation."""
    asked = (subjects.APPLY, subjects.API)
    return (
        Zone(
            name="SYS",
            jetstream=False,
            exports=(
                *(Export(kind="stream", subject=each, to="DATA") for each in CONNECTIONS),
                *(Export(kind="service", subject=each, to="DATA") for each in (_API, _NOWHERE)),
            ),
        ),
        Zone(
            name="CTL",
            jetstream=True,
            exports=tuple(Export(kind="service", subject=each, to="USERS") for each in asked),
        ),
        Zone(
            name="USERS",
            jetstream=False,
            imports=tuple(
                Import(kind="service", of="CTL", subject=each, here=each) for each in asked
            ),
        ),
        Zone(name="DATA", jetstream=True, imports=_imports_of_data(wards)),
    )


def _imports_of_data(wards: Wards) -> tuple[Import, ...]:
    told = zip(CONNECTIONS, (subjects.disconnects(wards), subjects.connects(wards)), strict=True)
    served = ((_API, f"{subjects.data_api(wards)}.>"), (_NOWHERE, _API))
    return (
        *(Import(kind="stream", of="SYS", subject=each, here=here) for each, here in told),
        *(Import(kind="service", of="SYS", subject=each, here=here) for each, here in served),
    )
