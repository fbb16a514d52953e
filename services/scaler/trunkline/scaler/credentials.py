"""Keeps each pipeline's credentials fresh, where its workers find them, and ends those of what is gone.

One round: look at what is held, plan, act. A pipeline whose credential cannot be made or put now is
tried again with back-off, and holds up nobody else's; what it has goes on for a third of its life.
What a death leaves between making and putting, or between revoking and removing: the next round does
both again, see `core.credentials`.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Protocol, assert_never

from trunkline.contracts import errors
from trunkline.runtime import backoff
from trunkline.runtime.clock import Clock
from trunkline.scaler.core import credentials
from trunkline.scaler.core.credentials import Change, Issue, Revoke
from trunkline.scaler.ports import ClusterUnavailableError, CredentialIssuer, Credentials, Held

log = logging.getLogger(__name__)

_RETRY_S = 60.0
"""The most between two tries of what could not be done."""
_NOT_NOW = (errors.UnavailableError, errors.RequestRefusedError, ClusterUnavailableError)


class CredentialShelf(Protocol):
    """Where workers find their credentials: a Secret for each pipeline. All of it may be repeated."""

    async def held(self) -> Mapping[str, Held]:
        """Return what is there, by pipeline; raise ClusterUnavailableError."""
        ...

    async def put(self, pipeline: str, made: Credentials) -> None:
        """Put it in the place of what is there; raise ClusterUnavailableError."""
        ...

    async def remove(self, pipeline: str) -> None:
        """Take it away; that it is not there is no error; raise ClusterUnavailableError."""
        ...


class Keeper:
    """Issues, renews and revokes.

    Args:
        issuer: Makes credentials.
        shelf: Where they are held.
        wanted: Pipelines that are there, or have workers.
        clock: The wall clock; what waits, waits by the loop's.
        resync_s: Seconds between rounds when nothing happens.
    """

    def __init__(
        self,
        issuer: CredentialIssuer,
        shelf: CredentialShelf,
        *,
        wanted: Callable[[], Collection[str]],
        clock: Clock,
        resync_s: float = 300.0,
    ) -> None:
        self._issuer, self._shelf, self._wanted = issuer, shelf, wanted
        self._clock, self._resync_s = clock, resync_s
        self._failures = 0
        self._woken = asyncio.Event()
        self.problems: tuple[str, ...] = ()
        """What keeps it from its work, for people."""

    def wake(self) -> None:
        """Look again now: a pipeline has come or gone."""
        self._woken.set()

    async def run(self) -> None:
        """Keep them for ever."""
        while True:
            self._woken.clear()
            wait_s = await self._round()
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _round(self) -> float:
        """Do what is to be done; return the seconds until there may be more."""
        failed: list[str] = []
        held: dict[str, Held] = {}
        try:
            held |= await self._shelf.held()
        except ClusterUnavailableError as error:
            failed.append(str(error))
        else:
            changes = credentials.plan(
                self._wanted(), held, issuer=self._issuer.name, now=self._now()
            )
            failed += [text for each in changes if (text := await self._tried(each, held))]
        self.problems = tuple(failed)
        self._failures = self._failures + 1 if failed else 0
        if failed:
            return backoff.delay_s(self._failures, most_s=_RETRY_S)
        next_at = credentials.next_at(held)
        until_next = self._resync_s if next_at is None else next_at - self._now()
        return min(self._resync_s, max(until_next, 0.0))

    async def _tried(self, change: Change, held: dict[str, Held]) -> str:
        """Act, and note what is held then; return why it could not be done, or nothing."""
        try:
            await self._act(change, held)
        except _NOT_NOW as error:
            extra = {"pipeline": change.pipeline, "error": str(error)}
            log.warning("credentials not kept, trying on", extra=extra)
            return f"credentials of {change.pipeline!r}: {error}"
        return ""

    async def _act(self, change: Change, held: dict[str, Held]) -> None:
        match change:
            case Issue(pipeline):
                made = await self._issuer.issue(pipeline)
                await self._shelf.put(pipeline, made)
                held[pipeline] = made.held
                extra = {"pipeline": pipeline, "expires_at": made.held.expires_at}
                log.info("credentials issued", extra=extra)
            case Revoke(pipeline):
                await self._issuer.revoke(pipeline)
                await self._shelf.remove(pipeline)
                held.pop(pipeline, None)
                log.info("credentials revoked", extra={"pipeline": pipeline})
            case _:
                assert_never(change)

    def _now(self) -> float:
        return self._clock.wall_ns() / 1e9
