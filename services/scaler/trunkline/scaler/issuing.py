"""Mints workers' credentials for a server in operator mode, and has the server revoke them.

The user of a pipeline's workers is always the same key, made of the workers' key and the pipeline's
name: nothing is remembered, and whoever starts knows whom to revoke. What is minted is signed here; no
server is asked, and none needs to be there.

*Revoking* takes the revoking key and a user of SYS: the claims of DATA are asked for, the user is added
with a second until which nothing counts, they are signed anew and sent to the servers, which keep them on their
disks and end the user's connections. Leaders' clocks differ, so that is not always the present second: it is at least
that in which what is held was issued, and no revocation takes back a former one. What is issued later is
dated after the last revocation, which the servers are asked for once; while they are away, by the clock
alone. A date of more than SKEW_S ahead is nobody's clock, and counts as one of that.

A death between any two of these steps: it is done again. Who
revokes at the same time in another process may lose one, which then ends when it expires; one leader
issues and revokes. Without these two keys, credentials end when they expire, and only then.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from trunkline.bus import bootstrap, connection, jwts, operator
from trunkline.bus.connection import NatsConnection
from trunkline.bus.jwts import Creds, Key
from trunkline.contracts import errors, subjects
from trunkline.contracts.wards import Wards
from trunkline.runtime.clock import Clock
from trunkline.runtime.leading import Fence
from trunkline.scaler.ports import Credentials, Held

log = logging.getLogger(__name__)

LIFE_S = 24 * 3600.0
"""Of a worker's credentials. It is what they are good for where they cannot be revoked, and three times
what an outage of the issuer may take."""
ANSWER_S = 5.0
_ASK_S = 1.0
"""For which making credentials waits to hear of revocations."""
SKEW_S = 3600.0
"""By which another leader's clock may be ahead."""


class Revoker:
    """Has servers end what was issued for a user.

    Args:
        sys: A connection in SYS, as the user `issuer`.
        key: The revoking key.
        data: The public key of the account DATA.
        keep_s: Seconds for which a revocation is kept: the life of what it revokes.
    """

    def __init__(self, sys: NatsConnection, key: Key, data: str, *, keep_s: float) -> None:
        self._sys, self._key, self._data, self._keep_s = sys, key, data, keep_s
        self._one = asyncio.Lock()
        self._revoked: dict[str, int] | None = None
        """User -> the second until which nothing counts; None: the servers were not asked yet."""

    async def revoke(self, user: str, at: int, *, now: int) -> None:
        """Revoke all of the user's claims that were signed until a second, at least."""
        async with self._one:
            claims = revoking(await self._claims(), user, at, now=now, keep_s=self._keep_s)
            signed = jwts.signed(claims, self._key)
            subject = subjects.SYS_CLAIMS_UPDATE
            answer = await self._sys.request(subject, signed.encode(), timeout_s=ANSWER_S)
            _check(msgspec.json.decode(answer.data))
            self._revoked = revoked(claims)

    async def last(self, user: str) -> int:
        """Return the second until which nothing counts; 0 if there is none, or nobody can be asked."""
        if self._revoked is None and self._sys.connected:
            try:
                async with self._one:
                    self._revoked = revoked(await self._claims(timeout_s=_ASK_S))
            except errors.UnavailableError as error:
                log.info("revocations are not known yet", extra={"reason": str(error)})
        return (self._revoked or {}).get(user, 0)

    async def _claims(self, timeout_s: float = ANSWER_S) -> jwts.Claims:
        subject = subjects.sys_claims_lookup(self._data)
        answer = await self._sys.request(subject, b"", timeout_s=timeout_s)
        try:
            return jwts.read(answer.data.decode())
        except (UnicodeDecodeError, jwts.InvalidKeyError) as error:
            raise errors.UnavailableError("the claims of DATA", str(error)) from error


def revoked(claims: jwts.Claims) -> dict[str, int]:
    """Return what an account's claims say: user -> the second until which nothing counts."""
    found: dict[str, int] = claims.nats.get("revocations", {})
    return found


def revoking(claims: jwts.Claims, user: str, at: int, *, now: int, keep_s: float) -> jwts.Claims:
    """Return an account's claims with one more revocation, and without those that are over.

    Args:
        claims: As they are.
        user: Who is revoked.
        at: Until when; until later, if that was said before.
        now: Wall clock, seconds.
        keep_s: Seconds after which what was revoked has expired anyway.
    """
    present = revoked(claims)
    kept = {each: then for each, then in present.items() if then > now - keep_s}
    until = max(at, present.get(user, 0))
    says = {**claims.nats, "revocations": {**kept, user: until}}
    return msgspec.structs.replace(claims, iat=max(now, claims.iat + 1), nats=says)


class JwtIssuer:
    """See `ports.CredentialIssuer`.

    Args:
        wards: The installation's.
        workers: The workers' key.
        data: The public key of the account DATA.
        clock: The wall clock.
        life_s: Seconds for which credentials count.
        revoker: None: they end when they expire.
    """

    def __init__(
        self,
        wards: Wards,
        workers: Key,
        data: str,
        *,
        clock: Clock,
        life_s: float = LIFE_S,
        revoker: Revoker | None = None,
    ) -> None:
        self._wards, self._workers, self._data = wards, workers, data
        self._clock, self._life_s, self._revoker = clock, life_s, revoker

    @property
    def name(self) -> str:
        """The public workers' key."""
        return self._workers.public

    async def issue(self, pipeline: str) -> Credentials:
        """Mint a pipeline's credentials."""
        ward, user = self._wards.of(pipeline), self.user(pipeline)
        last = await self._revoker.last(user.public) if self._revoker else 0
        issued_at = max(self._now(), last + 1)
        expires_at = issued_at + int(self._life_s)
        claims = operator.worker_claims(
            user.public, ward, data=self._data, issued_at=issued_at, expires_at=expires_at
        )
        creds = Creds(jwt=jwts.signed(claims, self._workers), seed=user.seed)
        held = Held(issued_at=issued_at, expires_at=expires_at, issuer=self.name)
        return Credentials(text=creds.text(), held=held)

    async def revoke(self, pipeline: str, issued_at: float) -> None:
        """End a pipeline's credentials, if servers can be told."""
        if self._revoker is None:
            log.info("credentials end when they expire", extra={"pipeline": pipeline})
            return
        now = self._now()
        at = int(min(issued_at, now + SKEW_S))
        await self._revoker.revoke(self.user(pipeline).public, max(now, at), now=now)

    def _now(self) -> int:
        return self._clock.wall_ns() // 10**9

    def user(self, pipeline: str) -> Key:
        """Return the key of a pipeline's workers, or raise InvalidNameError."""
        ward = self._wards.of(pipeline)
        entropy = hmac.digest(self._workers.seed.encode(), f"user/{ward}".encode(), hashlib.sha256)
        return jwts.key_of("user", entropy)


@asynccontextmanager
async def opened(
    shelf: bootstrap.Shelf,
    wards: Wards,
    *,
    url: str,
    clock: Clock,
    life_s: float = LIFE_S,
    holds: Fence | None = None,
) -> AsyncIterator[JwtIssuer]:
    """Yield the issuer that a shelf's keys make.

    Args:
        shelf: With the workers' seed and the claims of DATA; where it may revoke, with the revoking
            seed, too.
        wards: The installation's.
        url: Of NATS as the user `issuer`; empty where it may not revoke.
        clock: The wall clock.
        life_s: Seconds for which credentials count.
        holds: Whether this process leads at this instant: nothing is revoked otherwise.

    Raises:
        NotFoundError: a key is missing there.
    """
    workers = Key(_text(shelf, bootstrap.seed_of(bootstrap.WORKERS)))
    data = jwts.read(_text(shelf, bootstrap.claims_of("DATA"))).sub
    seed = shelf.read(bootstrap.seed_of(bootstrap.REVOKING))
    async with AsyncExitStack() as ends:
        revoker = None
        if seed is not None and url:
            inbox = subjects.ISSUER_INBOX
            sys = await ends.enter_async_context(
                connection.connect(url, name="issuer", inbox=inbox, fence=holds)
            )
            revoker = Revoker(sys, Key(seed), data, keep_s=life_s)
        yield JwtIssuer(wards, workers, data, clock=clock, life_s=life_s, revoker=revoker)


def _text(shelf: bootstrap.Shelf, name: str) -> str:
    text = shelf.read(name)
    if text is None:
        raise errors.NotFoundError("key", name, "the bootstrap job makes it")
    return text


def _check(answer: dict[str, Any]) -> None:
    """Raise RequestRefusedError unless the server has taken new claims."""
    said = answer.get("data") or answer.get("error") or {}
    code = said.get("code") if isinstance(said, dict) else None
    if code != 200:
        text = said.get("description", "") if isinstance(said, dict) else ""
        raise errors.RequestRefusedError("claims", [("", f"the server took no claims: {text}")])
