"""Puts right what somebody has written over records and assignments by other tools.

    a message that nobody can read --> noticed by a mirror, a read, or a look --> the round writes the record again

*Records.* What they were stands in the bucket, in the message before (`bus.tables`), or else in this process's memory; of records
that were overwritten several times while no coordinator ran, nothing does: these are told until somebody puts them right or
deletes them. All is by compare-and-set: who has written a record meanwhile has put it right.

*Assignments* follow from job records. Nobody but the coordinator writes any, so one whose sequence is none of ours is to
be written again: what was stored since the last look is looked at every LOOK_S. Workers keep to what they could read last.

Nothing of this is remembered: killed anywhere, the next coordinator finds the same.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from trunkline.bus.ports import Table
from trunkline.contracts import errors
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.core import pipelines as core
from trunkline.coordinator.events import Events
from trunkline.coordinator.tables import NODES_KEY

log = logging.getLogger(__name__)

LOOK_S = 5.0
_SHOWN = 10


class Mending:
    """See the module."""

    def __init__(self, catalog: Catalog, assignments: Assignments, events: Events) -> None:
        self._catalog, self._assignments, self._events = catalog, assignments, events
        self._looked_at_s = 0.0

    async def round(self) -> None:
        """Put right what is known to be spoiled; now and then look at what nobody follows."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_at_s >= LOOK_S:
            self._looked_at_s = now_s
            await self._catalog.tables.nodes.get(NODES_KEY)
            await self._tell("assignments", await self._assignments.publish_overwritten())
        for name, table, known in self._tables():
            if table.spoiled:
                await self._tell(name, await self._mend(table, known))
            if table.spoiled:
                self._catalog.woken.set()  # again meanwhile: the next round has its turn

    async def _mend(self, table: Table[Any], known: Callable[[str], Any]) -> list[str]:
        try:
            return await table.mend(known)
        except errors.RefusedError as error:
            log.error("record not put back", extra={"reason": str(error)})  # noqa: TRY400 - told
            return []

    def _tables(self) -> list[tuple[str, Table[Any], Callable[[str], Any]]]:
        catalog = self._catalog
        mirrors: dict[str, Callable[[str], Any]] = {
            "pipelines": catalog.pipelines.get,
            "repos": catalog.repos.get,
            "branches": catalog.branches.get,
            "jobs": catalog.jobs.mirror.get,
            "scaling": catalog.scaling.get,
        }
        return [
            (each.name, getattr(catalog.tables, each.name), mirrors.get(each.name, _unknown))
            for each in fields(catalog.tables)
        ]

    async def _tell(self, where: str, keys: list[str]) -> None:
        if not keys:
            return
        shown = ", ".join(errors.shown(each) for each in keys[:_SHOWN])
        more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        log.error("records were overwritten", extra={"what": where, "keys": keys[:_SHOWN]})
        text = f"somebody had overwritten {where} {shown}{more} with what nobody can read; put back"
        await self._events.mention("mended", core.UNNAMED, text)


def _unknown(key: str) -> None:
    """Return that nothing is held of a record in memory."""
    del key
