"""What a process is made of that leads or stands by, whatever it does as a leader.

    stands by: the connection of the election    --elected-->    leads: two further ones, for this term only

The connection of the election lasts as long as the process; a leader's are fenced by the election (`Candidacy.holds`) and
are gone before the process stands by again, so nothing of a former term can act. JetStream is asked over each of
them again and again whether it answers (`bus.watching`). One that is closed for good ends the process.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from trunkline.bus import closing, connection, watching
from trunkline.bus.connection import NatsConnection
from trunkline.contracts import subjects
from trunkline.contracts.wards import Wards
from trunkline.runtime import leading
from trunkline.runtime.leading import Candidacy
from trunkline.runtime.probes import Readiness
from trunkline.runtime.showing import Shown


class Role(NamedTuple):
    """As whom a service connects, and what it may ask of JetStream to see whether that answers."""

    name: str
    """Of its connection in the account CTL; those of the election and in DATA have it before a dash."""
    inbox: str
    asked_in_ctl: str
    asked_in_data: str
    """See `watching.watch`."""


class Lines(NamedTuple):
    """A leader's connections."""

    ctl: NatsConnection
    data: NatsConnection


@asynccontextmanager
async def elected_over(role: Role, ctl_url: str) -> AsyncIterator[NatsConnection]:
    """Give the connection of the election, for `in_turn`."""
    name = f"{role.name}-election"
    async with (
        connection.connect(ctl_url, name=name, inbox=role.inbox) as ctl,
        _looked_after((ctl, role.asked_in_ctl)),
    ):
        yield ctl


async def in_turn(
    ctl: NatsConnection,
    candidacy: Candidacy,
    lead: Callable[[], Awaitable[None]],
    *,
    readiness: Readiness,
    shown: Shown,
) -> None:
    """Stand by and lead in turn until cancelled; what leads and fails ends this.

    Args:
        ctl: The connection of the election.
        candidacy: In it.
        lead: Leads until it is cancelled.
        readiness: Is told how who stands by is judged.
        shown: Shows whether this process leads.
    """

    def stands_by() -> None:
        readiness.judge_by(lambda: [*ctl.problems, *candidacy.problems])

    async with leading.standing(candidacy), shown.about(candidacy.samples, ctl):
        await candidacy.in_turn(lead, stands_by=stands_by)


@asynccontextmanager
async def lines(
    role: Role, wards: Wards, candidacy: Candidacy, *, ctl_url: str, data_url: str
) -> AsyncIterator[Lines]:
    """Give the connections of a term; ConnectionClosedError where one is closed for good."""
    inbox, fence = role.inbox, candidacy.holds
    api = subjects.data_api(wards)
    async with (
        connection.connect(ctl_url, name=role.name, inbox=inbox, fence=fence) as ctl,
        connection.connect(
            data_url, name=f"{role.name}-data", inbox=inbox, api=api, fence=fence
        ) as data,
        _looked_after((ctl, role.asked_in_ctl), (data, role.asked_in_data)),
    ):
        yield Lines(ctl, data)


@asynccontextmanager
async def _looked_after(*asked: tuple[NatsConnection, str]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        beside = [
            task
            for each, verb in asked
            for task in (
                tasks.create_task(closing.end_with(each, each.name), name=f"closed-{each.name}"),
                tasks.create_task(watching.watch(each, verb), name=f"watch-{each.name}"),
            )
        ]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
