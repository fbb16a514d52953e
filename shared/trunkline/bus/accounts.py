"""The server's configuration with our accounts, for an installation that writes its own.

Pure: text from data. What the accounts are stands in `zones`; here each user has a password.
"""

import json
from collections.abc import Mapping

import msgspec

from trunkline.bus import permissions, zones
from trunkline.contracts import errors, names
from trunkline.contracts.durability import SYNC_INTERVAL
from trunkline.contracts.wards import Wards

WORKER_PREFIX = "worker."
"""The user of a pipeline's workers is `worker.<pipeline>`: the server names it when one is gone."""


ROUTE_USER = "route"
"""By which the servers of a cluster know each other."""


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A server's place in a cluster."""

    name: str
    """The server's own, by which the others remember what it holds: it must never change."""
    port: int
    """Where the others reach it."""
    routes: tuple[int, ...]
    """Of all servers, its own too."""
    password: str
    """Whoever knows it is a server, and may do everything."""


MAX_FILE_STORE = "1TB"
"""Left to itself a server takes three quarters of what is free at its start, and refuses streams whose bounds (of logs and
events: 6 GiB) do not fit into that, however little is in them. The disk is the bound."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the server needs to know besides its users."""

    port: int
    store_dir: str
    pid_file: str
    host: str = "127.0.0.1"
    sync_interval: str = SYNC_INTERVAL
    """How often the server makes the disk write; what a power loss (not a crash) may cost. `always`:
    before each answer."""
    member: Membership | None = None
    """None for a server that is alone."""


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
            `scaler-data`, `auditor`, `auditor-data` and `worker.<pipeline>`.
        wards: The installation's; they stand in what a worker may do.

    Raises:
        InvalidNameError: a user is none of these, or names no pipeline.
    """
    users: dict[str, list[str]] = {}
    for user in sorted(passwords):
        account, allowed = _rights(user, wards)
        users.setdefault(account, []).append(_user(user, passwords[user], allowed))
    lines = [
        "# Written by Trunkline; changed by it when a pipeline comes. Holds passwords.",
        *server_lines(settings),
        "system_account: SYS",
        "accounts {",
    ]
    for zone in zones.zones(wards):
        lines += _account(zone, users.get(zone.name, []))
    return "\n".join([*lines, "}"]) + "\n"


def server_lines(settings: ServerSettings) -> list[str]:
    """Return what a configuration says whatever its users are."""
    return [
        f"listen: {json.dumps(f'{settings.host}:{settings.port}')}",
        f"pid_file: {json.dumps(settings.pid_file)}",
        "ping_interval: 5s",
        "ping_max: 2",
        "jetstream {",
        f"  store_dir: {json.dumps(settings.store_dir)}",
        f"  sync_interval: {json.dumps(settings.sync_interval)}",
        f"  max_file_store: {MAX_FILE_STORE}",
        "}",
        *(_cluster(settings.host, settings.member) if settings.member else ()),
    ]


def _cluster(host: str, member: Membership) -> list[str]:
    known = {"user": ROUTE_USER, "password": member.password}
    routes = [f"nats://{ROUTE_USER}:{member.password}@{host}:{port}" for port in member.routes]
    return [
        f"server_name: {json.dumps(member.name)}",
        "cluster {",
        '  name: "trunkline"',
        f"  listen: {json.dumps(f'{host}:{member.port}')}",
        f"  authorization: {json.dumps(known)}",
        f"  routes: {json.dumps(routes)}",
        "  no_advertise: true",  # clients are told of all servers by their URL
        "}",
    ]


def _rights(user: str, wards: Wards) -> tuple[str, permissions.Permissions]:
    pipeline = pipeline_of(user)
    if pipeline is not None:
        return "DATA", permissions.of("worker", wards, pipeline)
    for role, account in zones.ACCOUNT_OF.items():
        if role == user and role not in ("worker", "issuer"):
            return account, permissions.of(role, wards)
    raise errors.InvalidNameError("user", user, "one of our roles, or worker.<pipeline>")


def _user(name: str, password: str, allowed: permissions.Permissions) -> str:
    rights: dict[str, object] = {
        "publish": {"allow": allowed.publish, "deny": allowed.deny_publish},
        "subscribe": {"allow": allowed.subscribe},
    }
    return json.dumps({"user": name, "password": password, "permissions": rights})


def _account(zone: zones.Zone, users: list[str]) -> list[str]:
    exports = [{each.kind: each.subject, "accounts": [each.to]} for each in zone.exports]
    imports = [_import(each) for each in zone.imports]
    lines = [f"  {zone.name} {{"]
    if zone.jetstream:
        lines.append("    jetstream: enabled")
    if users:
        lines += ["    users: [", *(f"      {user}" for user in users), "    ]"]
    if exports:
        lines.append(f"    exports: {json.dumps(exports)}")
    if imports:
        lines.append(f"    imports: {json.dumps(imports)}")
    lines.append("  }")
    return lines


def _import(each: zones.Import) -> dict[str, object]:
    found: dict[str, object] = {each.kind: {"account": each.of, "subject": each.subject}}
    if each.here != each.subject:
        found["to"] = each.here
    if each.kind == "service":
        found["share"] = True
    return found
