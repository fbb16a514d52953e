"""What the coordinator's process is made of; see `runtime.terms` for what it is while it stands by."""

import functools

from trunkline.bus import topology
from trunkline.bus.tables import KvTable
from trunkline.contracts import records, subjects
from trunkline.contracts.wards import Wards
from trunkline.coordinator.parts import Ground
from trunkline.coordinator.service import Coordinator
from trunkline.coordinator.settings import Settings
from trunkline.runtime import leading, probes, terms
from trunkline.runtime.leading import Candidacy
from trunkline.runtime.metrics import COORDINATOR
from trunkline.runtime.showing import Shown

ROLE = terms.Role(
    "coordinator",
    subjects.COORDINATOR_INBOX,
    asked_in_ctl="STREAM.NAMES",
    asked_in_data="STREAM.NAMES",
)


async def serve(settings: Settings) -> None:
    """Stand by and lead in turn until cancelled, or until a connection is closed for good."""
    readiness = probes.Readiness()
    shown = Shown(COORDINATOR, lambda: readiness.reasons)
    async with (
        probes.served(
            settings.probe_host, settings.probe_port, readiness, shown, fd=settings.probe_fd
        ),
        terms.elected_over(ROLE, settings.ctl_url) as ctl,
    ):
        candidacy = Candidacy(
            KvTable(ctl, subjects.LEADERS, records.Candidate, write_s=leading.WRITE_S),
            subjects.COORDINATOR,
            name=settings.name,
            declare=functools.partial(topology.declare_leaders, ctl, settings.durability),
        )
        await terms.in_turn(
            ctl,
            candidacy,
            lambda: lead(settings, candidacy, readiness, shown),
            readiness=readiness,
            shown=shown,
        )


async def lead(
    settings: Settings, candidacy: Candidacy, readiness: probes.Readiness, shown: Shown
) -> None:
    """Serve until cancelled; what it is served by is made here, and gone at the end."""
    wards = Wards(settings.data_key)
    readiness.judge_by(lambda: ["it begins to lead"])
    async with terms.lines(
        ROLE, wards, candidacy, ctl_url=settings.ctl_url, data_url=settings.data_url
    ) as (ctl, data):
        coordinator = Coordinator(Ground(ctl, data, wards, settings, candidacy.holds))
        readiness.judge_by(lambda: [*coordinator.problems(), *candidacy.problems])
        async with shown.about(coordinator.samples, ctl, data):
            await coordinator.serve()
