"""What our operator, accounts and users say of themselves to a server in operator mode.

    operator      signs  accounts SYS, CTL, USERS, DATA
    revoking key  signs  DATA again, when somebody is revoked
    account       signs  its users: services and people
    workers' key  signs  users of workers in DATA, by a template

The *workers' key* is a signing key of DATA that can make workers only: what its users may do is a
template in DATA's claims, and all that they bring is two tags, the pipeline and its ward. A user of it
with permissions of its own is refused by the server. So who mints workers' credentials (the scaler)
holds no key by which anything else could be made. The server puts a tag where the template names it,
whatever it holds, a wildcard too: `worker_claims` takes a `Ward`, whose names are checked.

The *revoking key* is a signing key of the operator. An account's claims hold who is revoked in it, and
only an operator signs accounts; without this key credentials end when they expire.

Pure: claims from data. What they are signed with and where they are kept stands in `bootstrap`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.bus import accounts, jwts, permissions, zones
from trunkline.bus.jwts import Claims
from trunkline.bus.permissions import PIPELINE_TAG, WARD_TAG, Permissions
from trunkline.contracts import errors, names
from trunkline.contracts.wards import Ward, Wards

_VERSION = 2
"""Of the form of claims."""
_ANY = -1
_ANYTHING = {"subs": _ANY, "data": _ANY, "payload": _ANY}
_LIMITS = {
    **_ANYTHING,
    "imports": _ANY,
    "exports": _ANY,
    "conn": _ANY,
    "leaf": 0,
    "wildcards": True,
}
_JETSTREAM = {"mem_storage": _ANY, "disk_storage": _ANY, "streams": _ANY, "consumer": _ANY}
"""Without these an account has no JetStream."""

_LINE = "32KB"
"""What a client may say in one line. Its claims are one, and our coordinator's list of subjects is
longer than the 4 KB that are usual."""

ADMIN = "sys"
"""The user of SYS for whoever runs the server: it may do anything there."""


def operator_claims(operator: str, *, revoking: str, sys: str) -> Claims:
    """Return what the operator says of itself: who else signs for it, and which account is SYS."""
    says = {"signing_keys": [revoking], "system_account": sys}
    return Claims(sub=operator, name="trunkline", nats=_typed("operator", says))


def account_claims(
    zone: zones.Zone,
    keys: Mapping[str, str],
    *,
    workers: str,
    revoked: Mapping[str, int] | None = None,
) -> Claims:
    """Return what the operator says of one of our accounts.

    Args:
        zone: The account.
        keys: The public keys of all accounts.
        workers: The public workers' key.
        revoked: User -> seconds since the epoch: what was signed for it until then counts no more.
    """
    says: dict[str, Any] = {
        "limits": _LIMITS | (_JETSTREAM if zone.jetstream else {}),
        "default_permissions": {"pub": {}, "sub": {}},
    }
    if zone.exports:
        says["exports"] = [_export(each) for each in zone.exports]
    if zone.imports:
        says["imports"] = [_import(each, keys, zone.name) for each in zone.imports]
    if zone.name == "DATA":
        says["signing_keys"] = [_scope(workers)]
    if revoked:
        says["revocations"] = dict(revoked)
    return Claims(sub=keys[zone.name], name=zone.name, nats=_typed("account", says))


def service_claims(user: str, role: str, wards: Wards) -> Claims:
    """Return what an account says of a user that is no worker: one of our roles, or ADMIN."""
    if role == ADMIN:
        allowed = Permissions(publish=(">",), subscribe=(">",))
    else:
        allowed = permissions.of(service_role(role), wards)
    return Claims(sub=user, name=role, nats=_typed("user", _rights(allowed) | _ANYTHING))


def account_of(role: str) -> zones.Account:
    """Return the account of a user that is no worker."""
    return "SYS" if role == ADMIN else zones.ACCOUNT_OF[service_role(role)]


def worker_claims(user: str, ward: Ward, *, data: str, issued_at: int, expires_at: int) -> Claims:
    """Return what the workers' key says of the user of a pipeline's workers.

    Args:
        user: Its public key.
        ward: Whose workers they are.
        data: The public key of DATA, for which the workers' key signs.
        issued_at: Seconds since the epoch.
        expires_at: Seconds since the epoch.
    """
    tags = [f"{PIPELINE_TAG}:{ward.pipeline}", f"{WARD_TAG}:{ward.token}"]
    says = {"issuer_account": data, "tags": tags, "pub": {}, "sub": {}}
    return Claims(
        sub=user,
        name=accounts.worker_user(ward.pipeline),
        iat=issued_at,
        exp=expires_at,
        nats=_typed("user", says),
    )


def pipeline_of(tags: Sequence[str]) -> str | None:
    """Return whose worker a user is by its signed tags, or None if they do not say one pipeline."""
    found = [
        tag.removeprefix(f"{PIPELINE_TAG}:") for tag in tags if tag.startswith(PIPELINE_TAG + ":")
    ]
    if len(found) != 1:
        return None
    try:
        return names.pipeline(found[0])
    except errors.InvalidNameError:
        return None


def resolver_block(operator: str, sys: str, claims: Mapping[str, str], *, directory: str) -> str:
    """Return what a server's configuration says of the operator and its accounts.

    Args:
        operator: Its claims, signed.
        sys: The public key of SYS.
        claims: Account's public key -> its claims, signed. The server takes these at its start unless it
            has newer ones, which it was told (see `issuing`).
        directory: Where the server keeps the claims of accounts; on its disk, so that what was
            revoked is so after its restart.
    """
    resolver = {"type": "full", "dir": directory, "allow_delete": False, "interval": "2m"}
    lines = [
        f"max_control_line: {_LINE}",
        f"operator: {operator}",
        f"system_account: {sys}",
        f"resolver: {json.dumps(resolver)}",
        "resolver_preload {",
        *(f"  {key}: {token}" for key, token in claims.items()),
        "}",
    ]
    return "\n".join(lines) + "\n"


def service_role(role: str) -> permissions.Role:
    """Return a role that is no worker's, or raise InvalidNameError."""
    for each in zones.ACCOUNT_OF:
        if each == role and each != "worker":
            return each
    raise errors.InvalidNameError("user", role, "one of our roles")


def _typed(kind: jwts.Kind, says: Mapping[str, Any]) -> dict[str, Any]:
    return {**says, "type": kind, "version": _VERSION}


def _rights(allowed: Permissions) -> dict[str, Any]:
    publish: dict[str, Any] = {"allow": list(allowed.publish)}
    if allowed.deny_publish:
        publish["deny"] = list(allowed.deny_publish)
    return {"pub": publish, "sub": {"allow": list(allowed.subscribe)}}


def _scope(workers: str) -> dict[str, Any]:
    template = _rights(permissions.template()) | _ANYTHING
    return {"kind": "user_scope", "key": workers, "role": "worker", "template": template}


def _export(each: zones.Export) -> dict[str, Any]:
    """An account is named by its key here, so no subject can hold it: each may have its own only."""
    found: dict[str, Any] = {"name": each.subject, "subject": each.subject, "type": each.kind}
    if each.subject in zones.CONNECTIONS:
        tokens = each.subject.split(".")
        position = tokens.index(each.to)
        tokens[position] = "*"
        found |= {"subject": ".".join(tokens), "account_token_position": position + 1}
    return found


def _import(each: zones.Import, keys: Mapping[str, str], account: zones.Account) -> dict[str, Any]:
    subject = each.subject
    if subject in zones.CONNECTIONS:
        subject = subject.replace(account, keys[account])
    found: dict[str, Any] = {
        "name": each.here,
        "subject": subject,
        "account": keys[each.of],
        "local_subject": each.here,
        "type": each.kind,
    }
    if each.kind == "service":
        found["share"] = True
    return found
