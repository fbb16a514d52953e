"""What the scaler's process is made of, whatever its cluster is."""

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from trunkline.bus import backlog
from trunkline.bus.connection import NatsConnection
from trunkline.bus.publishing import Window
from trunkline.bus.tables import KvTable
from trunkline.contracts import records, subjects
from trunkline.contracts.wards import Wards
from trunkline.runtime import leading, probes, terms
from trunkline.runtime.clock import SystemClock
from trunkline.runtime.leading import Candidacy, Fence
from trunkline.runtime.metrics import SCALER, Source
from trunkline.runtime.showing import Shown
from trunkline.scaler.ports import Cluster
from trunkline.scaler.service import Scaler
from trunkline.scaler.settings import Settings

ROLE = terms.Role(
    "scaler",
    subjects.SCALER_INBOX,
    asked_in_ctl=f"STREAM.INFO.{subjects.bucket_stream(subjects.JOBS)}",
    # a consumer that is not there: that is an answer, too
    asked_in_data=f"CONSUMER.INFO.{subjects.CLAIMS_STREAM}.none",
)

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
    async with (
        probes.served(config.probe_host, config.probe_port, readiness, shown, fd=config.probe_fd),
        terms.elected_over(ROLE, config.ctl_url) as ctl,
        shown.about(source),
    ):
        candidacy = Candidacy(
            KvTable(ctl, subjects.LEADERS, records.Candidate, write_s=leading.WRITE_S),
            subjects.SCALER,
            name=config.name,
        )
        await terms.in_turn(
            ctl,
            candidacy,
            lambda: lead(config, connect_cluster, candidacy, readiness, shown, problems),
            readiness=readiness,
            shown=shown,
        )


async def lead(
    config: Settings,
    connect_cluster: Connect,
    candidacy: Candidacy,
    readiness: probes.Readiness,
    shown: Shown,
    problems: Callable[[], Sequence[str]],
) -> None:
    """Scale and reap until cancelled; what it is done by is made here, and gone at the end."""
    wards = Wards(config.data_key)
    readiness.judge_by(lambda: ["it begins to lead"])
    async with (
        terms.lines(ROLE, wards, candidacy, ctl_url=config.ctl_url, data_url=config.data_url) as (
            ctl,
            data,
        ),
        connect_cluster(ctl, candidacy.holds) as cluster,
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
            measure=functools.partial(backlog.gauge, data),
            deliveries=functools.partial(backlog.deliveries, data),
            leases=functools.partial(backlog.in_flight, data),
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
        async with shown.about(scaler.samples, ctl, data):
            await scaler.run()
