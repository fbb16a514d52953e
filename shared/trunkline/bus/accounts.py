"""The server's configuration with our accounts, for an installation that writes its own.

Pure: text from data. USERS imports two services of CTL, and the server says there who asks; DATA
imports the server's word on who came and went, which only the scaler may hear.
"""

import json
from collections.abc import Mapping

import msgspec

from trunkline.bus import permissions
from trunkline.contracts import errors, names, subjects

ACCOUNT_OF: dict[permissions.Role, str] = {
    "user": "USERS",
    "coordinator": "CTL",
    "scaler": "CTL",
    "coordinator-data": "DATA",
    "scaler-data": "DATA",
    "worker": "DATA",
}
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


def render_config(settings: ServerSettings, passwords: Mapping[str, str]) -> str:
    """Return the text of the server's configuration file.

    Args:
        settings: Where it listens and keeps its data.
        passwords: For each user: `user`, `coordinator`, `coordinator-data`, `scaler`,
            `scaler-data` and `worker.<pipeline>`.

    Raises:
        InvalidNameError: a user is none of these, or names no pipeline.
    """
    users: dict[str, list[str]] = {"CTL": [], "USERS": [], "DATA": []}
    for user in sorted(passwords):
        account, allowed = _rights(user)
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
        *_account(
            "DATA",
            users["DATA"],
            imports=[
                {"stream": {"account": "SYS", "subject": subject}}
                for subject in (subjects.DISCONNECTS, subjects.CONNECTS)
            ],
        ),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _rights(user: str) -> tuple[str, permissions.Permissions]:
    pipeline = pipeline_of(user)
    if pipeline is not None:
        return "DATA", permissions.of("worker", names.pipeline(pipeline))
    for role, account in ACCOUNT_OF.items():
        if role == user and role != "worker":
            return account, permissions.of(role)
    raise errors.InvalidNameError("user", user, "one of our roles, or worker.<pipeline>")


def _user(name: str, password: str, allowed: permissions.Permissions) -> str:
    rights: dict[str, object] = {
        "publish": {"allow": allowed.publish, "deny": allowed.deny_publish},
        "subscribe": {"allow": allowed.subscribe},
    }
    return json.dumps({"user": name, "password": password, "permissions": rights})


def _sys() -> list[str]:
    exports = [
        {"stream": subject, "accounts": ["DATA"]}
        for subject in (subjects.DISCONNECTS, subjects.CONNECTS)
    ]
    return [f"  SYS {{ exports: {json.dumps(exports)} }}"]


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
