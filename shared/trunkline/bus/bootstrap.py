"""Everything that operator mode needs, made once: keys, claims, credentials, the server's part.

It is kept on a *shelf*: files in a directory, or keys of a Secret. Who runs it again changes nothing
that is right, and makes what is missing. Order, and what a crash between any two files leaves:

    *.seed, data-key    the secrets; random, made if missing, so a later run goes on from those there are
    <account>.jwt       operator.jwt and those of accounts: made of seeds, again wherever they say
                        something else than they should; who is revoked is kept
    <role>.creds        of services and people: made if missing, or if it says something else, or if it
                        was signed by another key, or if it is revoked
    resolver.conf       all claims, for the server's configuration; last

Each is a pure function of what comes before it, and is looked at on every run; nothing but the order of
writing matters, and it does only for a reader that comes in between.

*Rotating* a user revokes it in its account's claims first; that it is revoked is what has its creds
made anew, then or in any later run. Rotating `workers` removes its seed from DATA: all workers'
credentials end when the server has the new claims, and their issuer makes new ones with the new seed.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import msgspec

from trunkline.bus import jwts, operator, zones
from trunkline.bus.jwts import Claims, Creds, Key
from trunkline.contracts import errors
from trunkline.contracts.wards import Wards

OPERATOR, REVOKING, WORKERS = "operator", "revoking", "workers"
ROLES = (
    "user",
    "coordinator",
    "coordinator-data",
    "scaler",
    "scaler-data",
    "auditor",
    "auditor-data",
    "issuer",
    operator.ADMIN,
)
ROTATABLE = (*ROLES, WORKERS)
DATA_KEY = "data-key"
RESOLVER = "resolver.conf"

_SEEDS: dict[str, jwts.Kind] = {
    OPERATOR: "operator",
    REVOKING: "operator",
    "SYS": "account",
    "CTL": "account",
    "USERS": "account",
    "DATA": "account",
    WORKERS: "account",
}


class Shelf(Protocol):
    """Where it is kept. Nobody else may read it, and no two runs may write it at once."""

    def read(self, name: str) -> str | None:
        """Return a text, None if there is none of that name."""
        ...

    def write(self, name: str, text: str) -> None:
        """Put a text there as a whole."""
        ...


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is not made here."""

    resolver_dir: str
    """Where the server keeps the claims of accounts."""


def seed_of(name: str) -> str:
    """Return the name of the text with a seed."""
    return f"{name}.seed"


def claims_of(name: str) -> str:
    """Return the name of the text with the signed claims of the operator or of an account."""
    return f"{name}.jwt"


def creds_of(role: str) -> str:
    """Return the name of the text with the credentials of a role."""
    return f"{role}.creds"


def run(
    shelf: Shelf, settings: Settings, *, now: int, new_secret: Callable[[], str], rotate: str = ""
) -> list[str]:
    """Make what is missing; return the names of what was written.

    Args:
        shelf: Where it is kept.
        settings: Of the server.
        now: Seconds since the epoch.
        new_secret: Makes a data key.
        rotate: One of ROTATABLE that is to be made anew.

    Raises:
        InvalidNameError: that cannot be rotated.
        InvalidKeyError: what is there is no seed.
    """
    if rotate and rotate not in ROTATABLE:
        raise errors.InvalidNameError("what is to be rotated", rotate, f"one of {ROTATABLE}")
    written: list[str] = []
    for name, text in _wanted(shelf, settings, now, new_secret, rotate):
        if shelf.read(name) != text:
            shelf.write(name, text)
            written.append(name)
    return written


def _wanted(
    shelf: Shelf, settings: Settings, now: int, new_secret: Callable[[], str], rotate: str
) -> Iterator[tuple[str, str]]:
    """Yield all texts in the order in which they are written, each as it should be."""
    keys: dict[str, Key] = {}
    for name, kind in _SEEDS.items():
        seed = shelf.read(seed_of(name)) if name != rotate else None
        keys[name] = Key(seed) if seed else jwts.new_key(kind)
        yield seed_of(name), keys[name].seed
    data_key = shelf.read(DATA_KEY) or new_secret()
    yield DATA_KEY, data_key
    wards, sys = Wards(data_key), keys["SYS"].public
    says = operator.operator_claims(keys[OPERATOR].public, revoking=keys[REVOKING].public, sys=sys)
    signed_operator = _signed(shelf.read(claims_of(OPERATOR)), says, keys[OPERATOR], now)
    yield claims_of(OPERATOR), signed_operator
    accounts: dict[str, str] = {}
    revoked: dict[str, Mapping[str, int]] = {}
    for zone in zones.zones(wards):
        present = shelf.read(claims_of(zone.name))
        revoked[zone.name] = _revoked(shelf, zone.name, present, rotate)
        says = operator.account_claims(
            zone,
            {each: key.public for each, key in keys.items()},
            workers=keys[WORKERS].public,
            revoked=revoked[zone.name],
        )
        signed = _signed(present, says, keys[OPERATOR], now)
        accounts[keys[zone.name].public] = signed
        yield claims_of(zone.name), signed
    for role in ROLES:
        account = operator.account_of(role)
        creds = _creds(
            shelf.read(creds_of(role)), role, wards, keys[account], revoked[account], now
        )
        yield creds_of(role), creds
    yield (
        RESOLVER,
        operator.resolver_block(signed_operator, sys, accounts, directory=settings.resolver_dir),
    )


def _signed(present: str | None, says: Claims, issuer: Key, now: int) -> str:
    """Return claims as they are, if they say this and were signed by this key, or signed now."""
    issued_at = now
    if present is not None:
        was = jwts.read(present)
        unsigned = msgspec.structs.replace(was, iss="", iat=0, jti="")
        if was.iss == issuer.public and unsigned == says:
            return present
        issued_at = max(now, was.iat + 1)  # a server keeps the newer ones
    return jwts.signed(msgspec.structs.replace(says, iat=issued_at), issuer)


def _revoked(shelf: Shelf, account: str, present: str | None, rotate: str) -> Mapping[str, int]:
    """Return who is revoked in an account: who was, and who is to be rotated."""
    found: dict[str, int] = {}
    if present is not None:
        found |= jwts.read(present).nats.get("revocations", {})
    if rotate in ROLES and operator.account_of(rotate) == account:
        text = shelf.read(creds_of(rotate))
        if text is not None:
            claims = jwts.read(jwts.read_creds(text).jwt)
            found[claims.sub] = claims.iat
    return found


def _creds(
    present: str | None,
    role: str,
    wards: Wards,
    account: Key,
    revoked: Mapping[str, int],
    now: int,
) -> str:
    if present is not None:
        creds = jwts.read_creds(present)
        user = Key(creds.seed)
        if user.public not in revoked:
            says = operator.service_claims(user.public, role, wards)
            return Creds(jwt=_signed(creds.jwt, says, account, now), seed=user.seed).text()
    user = jwts.new_key("user")
    says = operator.service_claims(user.public, role, wards)
    return Creds(jwt=_signed(None, says, account, now), seed=user.seed).text()
