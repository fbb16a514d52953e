"""What the scaler's process is made of, whatever its cluster is."""

import asyncio
import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from trunkline.bus import connection, topology, watching
from trunkline.bus.connection import NatsConnection
from trunkline.bus.publishing import Window
from trunkline.bus.tables import KvTable
from trunkline.contracts import records, subjects
from trunkline.contracts.wards import Wards
from trunkline.runtime import leading, probes
from trunkline.runtime.clock import SystemClock
from trunkline.runtime.leading import Candidacy, Fence
from trunkline.runtime.metrics import SCALER, Source
from trunkline.runtime.showing import Shown
from trunkline.scaler.ports import Cluster
from trunkline.scaler.service import Scaler
from trunkline.scaler.settings import Settings

_ASKED_IN_CTL = f"STREAM.INFO.{subjects.bucket_stream(subjects.JOBS)}"
_ASKED_IN_DATA = f"CONSUMER.INFO.{subjects.CLAIMS_STREAM}.none"
"""A consumer that is not there; see `watching`."""

Connect = Callable[[NatsConnection, Fence], AbstractAsyncContextManager[Cluster]]
"""Takes the connection in the account CTL, and what the cluster is to ask before each change."""


async def serve(
    config: Settings,
    connect_cluster: Connect,
    problems: Callable[[], Sequence[str]] = tuple,
    source: Source = tuple,
) -> None:
    """Stand by and lead in turn until cancelled, or until a connection is closed for good.

    Args:
        config: Of the scaler.
        connect_cluster: Gives the cluster.
        problems: What beside the scaler's own keeps the process from its work while it leads.
        source: Of metrics of its cluster.
    """
    readiness = probes.Readiness()
    shown = Shown(SCALER, lambda: readiness.reasons)
    inbox = subjects.SCALER_INBOX
    async with (
        probes.served(config.probe_host, config.probe_port, readiness, shown, fd=config.probe_fd),
        connection.connect(config.ctl_url, name="scaler-election", inbox=inbox) as ctl,
        asyncio.TaskGroup() as tasks,
    ):
        beside = [
            tasks.create_task(_until_closed(ctl), name="until-closed"),
            tasks.create_task(watching.watch(ctl, _ASKED_IN_CTL), name="watch-election"),
        ]
        candidacy = Candidacy(
            KvTable(ctl, subjects.LEADERS, records.Candidate, write_s=leading.WRITE_S),
            subjects.SCALER,
            name=config.name,
        )
        try:
            async with (
                leading.standing(candidacy),
                shown.about(candidacy.samples, ctl),
                shown.about(source),
            ):
                await candidacy.in_turn(
                    lambda: lead(config, connect_cluster, candidacy, readiness, shown, problems),
                    stands_by=lambda: readiness.judge_by(
                        lambda: [*ctl.problems, *candidacy.problems]
                    ),
                )
        finally:
            for each in beside:
                each.cancel()


async def lead(
    config: Settings,
    connect_cluster: Connect,
    candidacy: Candidacy,
    readiness: probes.Readiness,
    shown: Shown,
    problems: Callable[[], Sequence[str]],
) -> None:
    """Scale and reap until cancelled; what it is done by is made here, and gone at the end."""
    wards, inbox = Wards(config.data_key), subjects.SCALER_INBOX
    api, fence = subjects.data_api(wards), candidacy.holds
    readiness.judge_by(lambda: ["it begins to lead"])
    async with (
        connection.connect(config.ctl_url, name="scaler", inbox=inbox, fence=fence) as ctl,
        connection.connect(
            config.data_url, name="scaler-data", inbox=inbox, api=api, fence=fence
        ) as data,
        connect_cluster(ctl, fence) as cluster,
    ):
        scaler = Scaler(
            config,
            cluster,
            wards,
            data=data,
            data_publisher=Window(data),
            ctl_publisher=Window(ctl),
            pipelines=KvTable(ctl, subjects.PIPELINES, records.Pipeline),
            jobs=KvTable(ctl, subjects.JOBS, records.Job),
            scaling=KvTable(ctl, subjects.SCALING, records.Scaling),
            measure=functools.partial(topology.gauge, data),
            deliveries=functools.partial(topology.deliveries, data),
            leases=functools.partial(topology.in_flight, data),
            clock=SystemClock(),
        )
        readiness.judge_by(
            lambda: [
                *ctl.problems,
                *data.problems,
                *scaler.problems,
                *candidacy.problems,
                *problems(),
            ]
        )
        async with shown.about(scaler.samples, ctl, data), asyncio.TaskGroup() as tasks:
            tasks.create_task(watching.watch(ctl, _ASKED_IN_CTL), name="watch-ctl")
            tasks.create_task(watching.watch(data, _ASKED_IN_DATA), name="watch-data")
            tasks.create_task(scaler.run(), name="scaler")
            tasks.create_task(_until_closed(ctl, data), name="until-closed")


class ClosedError(RuntimeError):
    """A connection to NATS is closed for good: the process ends, and is started again."""


async def _until_closed(*connections: NatsConnection) -> None:
    async def closed(each: NatsConnection) -> None:
        await each.closed()
        raise ClosedError(each.name)

    async with asyncio.TaskGroup() as tasks:
        for each in connections:
            tasks.create_task(closed(each), name=f"closed-{each.name}")
