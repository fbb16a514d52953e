"""Keeps each pipeline's credentials fresh, where its workers find them, and ends those of what is gone.

One round: look at what is held, plan, act. A pipeline whose credential cannot be made or put now is
tried again with back-off, and holds up nobody else's; what it has goes on for a third of its life. Nor does
a revocation, which takes up to a second: each goes on beside the rounds. What is done about one pipeline is
done in turn, and whoever is about to start a pipeline's first worker has its credential made at once (`ensure`).
What somebody else has taken away is made anew as soon as that is noticed (`forget`), at the latest by the next look.

What cannot be done for a pipeline is that pipeline's trouble, not the process's: a quota in its way keeps no other one
from its work. Only of one that is gone there is nobody else to tell it.

What a death leaves between making and putting, or between revoking and removing: the next round does
both again, see `core.credentials`.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol, assert_never

from trunkline.contracts import errors
from trunkline.runtime import backoff
from trunkline.runtime.clock import Clock
from trunkline.runtime.turns import Turns
from trunkline.scaler.core import credentials
from trunkline.scaler.core.credentials import Issue, Revoke
from trunkline.scaler.ports import ClusterUnavailableError, CredentialIssuer, Credentials, Held

log = logging.getLogger(__name__)

ENSURED_S = 5.0
"""Seconds after which a worker's start is put off that has no credential."""
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
        self._looked = asyncio.Event()
        self._held: dict[str, Held] = {}
        self._changed: dict[str, Held | None] = {}
        """What was put or removed since the last look began."""
        self._turns = Turns()
        self._ending: set[str] = set()
        self._told: dict[str, str] = {}
        """Pipeline -> why something could not be done about it."""
        self._blind = ""
        """Why we cannot look."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps it from its work, for people: that it cannot look, or end what is gone."""
        wanted = self._wanted()
        ends = [why for pipeline, why in self._told.items() if pipeline not in wanted]
        return (*([self._blind] if self._blind else ()), *ends)

    def trouble(self, pipeline: str) -> str:
        """Return what could not be done for a pipeline, for people; empty: nothing."""
        return self._told.get(pipeline, "")

    def wake(self) -> None:
        """Look again now: a pipeline has come or gone."""
        self._woken.set()

    def forget(self, pipeline: str) -> None:
        """Trust no more in what was known to be held: somebody has taken it away."""
        self._held.pop(pipeline, None)
        self._changed[pipeline] = None
        self.wake()

    async def run(self) -> None:
        """Keep them for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._woken.clear()
                wait_s = await self._round(tasks)
                try:
                    async with asyncio.timeout(wait_s):
                        await self._woken.wait()
                except TimeoutError:
                    continue

    async def ensure(self, pipeline: str) -> None:
        """Return once a pipeline's credential is held, which is made if there is none.

        Raises:
            ClusterUnavailableError: that cannot be done now.
        """
        try:
            async with asyncio.timeout(ENSURED_S):
                await self._looked.wait()
                async with self._turns.of(pipeline):
                    held = self._held.get(pipeline)
                    if held is None or not held.issuer:
                        await self._issue(pipeline)
        except (TimeoutError, errors.UnavailableError, errors.RequestRefusedError) as error:
            why = self._blind or self.trouble(pipeline) or str(error) or "not made in time"
            what = f"credentials of {pipeline!r}"
            raise ClusterUnavailableError(what, why) from error

    async def _round(self, tasks: asyncio.TaskGroup) -> float:
        """Do what is to be done; return the seconds until there may be more."""
        failed = not await self._look()
        if not failed:
            changes = credentials.plan(
                self._wanted(), self._held, issuer=self._issuer.name, now=self._now()
            )
            for change in changes:
                match change:
                    case Issue(pipeline):
                        before = self._held.get(pipeline)
                        failed |= not await self._tried(
                            pipeline, functools.partial(self._renew, before=before)
                        )
                    case Revoke(pipeline):
                        if pipeline not in self._ending:
                            self._ending.add(pipeline)
                            tasks.create_task(self._end(pipeline), name=f"revoke-{pipeline}")
                    case _:
                        assert_never(change)
        self._failures = self._failures + 1 if failed else 0
        if failed:
            return backoff.delay_s(self._failures, most_s=_RETRY_S)
        next_at = credentials.next_at(self._held)
        until_next = self._resync_s if next_at is None else next_at - self._now()
        return min(self._resync_s, max(until_next, 0.0))

    async def _look(self) -> bool:
        """Take in what is held; return whether that could be had."""
        self._changed.clear()
        try:
            held = dict(await self._shelf.held())
        except ClusterUnavailableError as error:
            self._blind = str(error)
            return False
        self._blind = ""
        for pipeline, now in self._changed.items():
            if now is None:
                held.pop(pipeline, None)
            else:
                held[pipeline] = now
        self._held = held
        there = {*held, *self._wanted(), *self._ending}
        self._told = {pipeline: why for pipeline, why in self._told.items() if pipeline in there}
        self._looked.set()
        return True

    async def _end(self, pipeline: str) -> None:
        """Revoke a pipeline's, however often that must be tried, unless it is wanted again."""
        failures = 0
        try:
            while not await self._tried(pipeline, self._revoke):
                failures += 1
                await asyncio.sleep(backoff.delay_s(failures, most_s=_RETRY_S))
        finally:
            self._ending.discard(pipeline)
        self.wake()

    async def _tried(self, pipeline: str, act: Callable[[str], Awaitable[None]]) -> bool:
        """Act in turn; return whether it could be done."""
        try:
            async with self._turns.of(pipeline):
                await act(pipeline)
        except _NOT_NOW as error:
            extra = {"pipeline": pipeline, "reason": str(error)}
            log.warning("credentials not kept, trying on", extra=extra)
            self._told[pipeline] = f"credentials of {pipeline!r}: {error}"
            return False
        self._told.pop(pipeline, None)
        return True

    async def _renew(self, pipeline: str, before: Held | None) -> None:
        if self._held.get(pipeline) == before:  # nobody was sooner
            await self._issue(pipeline)

    async def _issue(self, pipeline: str) -> None:
        made = await self._issuer.issue(pipeline)
        await self._shelf.put(pipeline, made)
        self._held[pipeline] = self._changed[pipeline] = made.held
        extra = {"pipeline": pipeline, "expires_at": made.held.expires_at}
        log.info("credentials issued", extra=extra)

    async def _revoke(self, pipeline: str) -> None:
        if pipeline in self._wanted():
            return
        held = self._held.get(pipeline)
        await self._issuer.revoke(pipeline, held.issued_at if held else 0.0)
        await self._shelf.remove(pipeline)
        self._held.pop(pipeline, None)
        self._changed[pipeline] = None
        log.info("credentials revoked", extra={"pipeline": pipeline})

    def _now(self) -> float:
        return self._clock.wall_ns() / 1e9
