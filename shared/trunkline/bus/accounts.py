"""The server's configuration with our accounts, for an installation that writes its own.

Pure: text from data. USERS imports two services of CTL, and the server says there who asks.

In DATA, what only our services may reach stands under hidden names (see `contracts.wards`): the
server's word on who came and went, and JetStream's API. The server imports the API into every account
with JetStream by itself, as `$JS.API.>`, unless the account imports something of SYS under that name
already; so it does, and what it imports is nobody's.
"""

import json
from collections.abc import Mapping

import msgspec

from trunkline.bus import permissions
from trunkline.contracts import errors, names, subjects
from trunkline.contracts.wards import Wards

ACCOUNT_OF: dict[permissions.Role, str] = {
    "user": "USERS",
    "coordinator": "CTL",
    "scaler": "CTL",
    "coordinator-data": "DATA",
    "scaler-data": "DATA",
    "worker": "DATA",
}
_API = f"{permissions.API}.>"
_NOWHERE = f"{subjects.ROOT}.nowhere.>"
_CONNECTIONS = (subjects.SYS_DISCONNECTS, subjects.SYS_CONNECTS)
WORKER_PREFIX = "worker."
"""The user of a pipeline's workers is `worker.<pipeline>`: the server names it when one is gone."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the server needs to know besides its users."""

    port: int
    store_dir: str
    pid_file: str
    host: str = "127.0.0.1"
    sync_interval: str = "2m"
    """How often the server makes the disk write; what a power loss (not a crash) may cost."""


def worker_user(pipeline: str) -> str:
    """Return the user name of a pipeline's workers."""
    return WORKER_PREFIX + names.pipeline(pipeline)


def pipeline_of(user: str) -> str | None:
    """Return whose worker an authenticated user is, or None for other users."""
    return user.removeprefix(WORKER_PREFIX) if user.startswith(WORKER_PREFIX) else None


def render_config(settings: ServerSettings, passwords: Mapping[str, str], wards: Wards) -> str:
    """Return the text of the server's configuration file.

    Args:
        settings: Where it listens and keeps its data.
        passwords: For each user: `user`, `coordinator`, `coordinator-data`, `scaler`,
            `scaler-data` and `worker.<pipeline>`.
        wards: The installation's; they stand in what a worker may do.

    Raises:
        InvalidNameError: a user is none of these, or names no pipeline.
    """
    users: dict[str, list[str]] = {"CTL": [], "USERS": [], "DATA": []}
    for user in sorted(passwords):
        account, allowed = _rights(user, wards)
        users[account].append(_user(user, passwords[user], allowed))
    lines = [
        "# Written by Trunkline; changed by it when a pipeline comes. Holds passwords.",
        f"listen: {json.dumps(f'{settings.host}:{settings.port}')}",
        f"pid_file: {json.dumps(settings.pid_file)}",
        "ping_interval: 5s",
        "ping_max: 2",
        "jetstream {",
        f"  store_dir: {json.dumps(settings.store_dir)}",
        f"  sync_interval: {json.dumps(settings.sync_interval)}",
        "}",
        "system_account: SYS",
        "accounts {",
        *_sys(),
        *_account(
            "CTL",
            users["CTL"],
            exports=[
                {"service": subjects.APPLY, "accounts": ["USERS"]},
                {"service": subjects.API, "accounts": ["USERS"]},
            ],
        ),
        *_account(
            "USERS",
            users["USERS"],
            imports=[
                {"service": {"account": "CTL", "subject": subject}, "share": True}
                for subject in (subjects.APPLY, subjects.API)
            ],
        ),
        *_account("DATA", users["DATA"], imports=_imports_of_data(wards)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _rights(user: str, wards: Wards) -> tuple[str, permissions.Permissions]:
    pipeline = pipeline_of(user)
    if pipeline is not None:
        return "DATA", permissions.of("worker", wards, pipeline)
    for role, account in ACCOUNT_OF.items():
        if role == user and role != "worker":
            return account, permissions.of(role, wards)
    raise errors.InvalidNameError("user", user, "one of our roles, or worker.<pipeline>")


def _user(name: str, password: str, allowed: permissions.Permissions) -> str:
    rights: dict[str, object] = {
        "publish": {"allow": allowed.publish, "deny": allowed.deny_publish},
        "subscribe": {"allow": allowed.subscribe},
    }
    return json.dumps({"user": name, "password": password, "permissions": rights})


def _sys() -> list[str]:
    exports = [
        *({"stream": subject, "accounts": ["DATA"]} for subject in _CONNECTIONS),
        *({"service": subject, "accounts": ["DATA"]} for subject in (_API, _NOWHERE)),
    ]
    return [f"  SYS {{ exports: {json.dumps(exports)} }}"]


def _imports_of_data(wards: Wards) -> list[dict[str, object]]:
    told = (subjects.disconnects(wards), subjects.connects(wards))
    found: list[dict[str, object]] = [
        {"stream": {"account": "SYS", "subject": subject}, "to": to}
        for subject, to in zip(_CONNECTIONS, told, strict=True)
    ]
    for subject, to in ((_API, f"{subjects.data_api(wards)}.>"), (_NOWHERE, _API)):
        found.append({"service": {"account": "SYS", "subject": subject}, "to": to, "share": True})
    return found


def _account(
    name: str,
    users: list[str],
    *,
    exports: list[dict[str, object]] | None = None,
    imports: list[dict[str, object]] | None = None,
) -> list[str]:
    lines = [f"  {name} {{"]
    if name != "USERS":
        lines.append("    jetstream: enabled")
    lines.append("    users: [")
    lines += [f"      {user}" for user in users]
    lines.append("    ]")
    if exports:
        lines.append(f"    exports: {json.dumps(exports)}")
    if imports:
        lines.append(f"    imports: {json.dumps(imports)}")
    lines.append("  }")
    return lines
