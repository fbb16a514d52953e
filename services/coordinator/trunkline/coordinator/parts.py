"""The parts of a coordinator that leads, put together by subject; each assembly stands on those before it.

Ground      what is given: connections, store, clock
Kept        what is stored, and what follows from it
Work        what is done about jobs
Answering   what is said to those who ask
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from trunkline.bus import topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ingest import Ingest
from trunkline.bus.publishing import Window
from trunkline.bus.tables import KvTable
from trunkline.contracts import records, subjects
from trunkline.contracts.wards import Wards
from trunkline.coordinator.api import ApiServer
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.collecting import Collector
from trunkline.coordinator.commands import Commands
from trunkline.coordinator.commits import Commits
from trunkline.coordinator.conduct import Conduct
from trunkline.coordinator.counting import Counting
from trunkline.coordinator.datum_views import DatumViews
from trunkline.coordinator.declaring import Declaring
from trunkline.coordinator.deleting import Deleting
from trunkline.coordinator.driving import Driver
from trunkline.coordinator.events import Events
from trunkline.coordinator.folding import OutcomeFolder
from trunkline.coordinator.handlers import Handlers
from trunkline.coordinator.inputs import Inputs
from trunkline.coordinator.jobsets import JobSets
from trunkline.coordinator.mending import Mending
from trunkline.coordinator.outcomes import Outcomes
from trunkline.coordinator.pipeline_verbs import PipelineVerbs
from trunkline.coordinator.pipelines import Pipelines
from trunkline.coordinator.planning import Planning
from trunkline.coordinator.readers import Readers
from trunkline.coordinator.repos import Committer, Repos
from trunkline.coordinator.retention import Retention
from trunkline.coordinator.runner import JobRunner
from trunkline.coordinator.settings import Settings
from trunkline.coordinator.streams import Streams
from trunkline.coordinator.tables import tables_of
from trunkline.coordinator.ticking import Ticking
from trunkline.coordinator.upkeep import Upkeep
from trunkline.runtime.clock import SystemClock
from trunkline.runtime.leading import Fence
from trunkline.storage.secrets import Secrets
from trunkline.storage.store import open_store


class Ground:
    """What a coordinator is given, and what it opens by that.

    Args:
        ctl: The connection in the account CTL.
        data: That in DATA.
        wards: What subjects in DATA begin with.
        settings: Of the process.
        holds: Whether it leads at this instant.
    """

    def __init__(
        self,
        ctl: NatsConnection,
        data: NatsConnection,
        wards: Wards,
        settings: Settings,
        holds: Fence,
    ) -> None:
        self.ctl, self.data, self.wards = ctl, data, wards
        self.settings, self.holds = settings, holds
        self.clock = clock = SystemClock()
        self.store = open_store(settings.store)
        self.store.health.doubt()
        self.tables = tables_of(ctl)
        self.events = Events(Window(ctl), clock)


class Kept:
    """Pipelines, repos, commits and job sets: what is stored of them, and what follows from that."""

    def __init__(self, on: Ground) -> None:
        settings, events, clock = on.settings, on.events, on.clock
        self.counting = Counting(clock, self._is_known)
        self.catalog = catalog = Catalog(
            on.tables,
            clock,
            local=settings.local,
            secrets=Secrets(Path(settings.secrets_dir)) if settings.secrets_dir else None,
            counting=self.counting,
        )
        self.jobsets = JobSets(catalog, events, clock)
        self.repos = Repos(catalog, clock)
        self.ticking = Ticking(catalog, self.jobsets, on.store, events, clock)
        self.assignments = Assignments(catalog.jobs, on.wards, on.data, Window(on.data))
        self.pipelines = Pipelines(
            catalog,
            self.repos,
            self.jobsets,
            self.assignments,
            on.data,
            on.wards,
            events,
            clock,
            durability=settings.durability,
        )
        self.conduct = Conduct(catalog, self.jobsets, events, clock)
        self.deleting = Deleting(catalog, self.repos, self.assignments, on.data, on.wards, events)
        self.mending = Mending(catalog, self.assignments, events)
        self.commands = Commands(on.ctl, self.pipelines, events)

    def _is_known(self, pipeline: str) -> bool:
        return pipeline in self.catalog.dag.pipelines


class Work:
    """What runs jobs, folds their outcomes, and collects what nobody needs any more."""

    def __init__(self, on: Ground, kept: Kept) -> None:
        settings, catalog = on.settings, kept.catalog
        jobs, pipelines = catalog.jobs, kept.counting.pipelines
        self.outcomes = outcomes = Outcomes(on.data, on.wards, on.store)
        self.folder = OutcomeFolder(
            on.data, on.wards, outcomes, jobs, on.events, counting=kept.counting
        )
        self.streams = Streams(on.ctl, on.data, on.wards, jobs.unsettled, pipelines, on.clock)
        runner = JobRunner(
            settings=settings,
            tables=on.tables,
            jobs=jobs,
            connection=on.data,
            ingest=Ingest(on.data),
            wards=on.wards,
            store=on.store,
            folder=self.folder,
            outcomes=outcomes,
            assignments=kept.assignments,
            committer=Committer(on.tables, on.clock, catalog.branches.take),
            events=on.events,
            clock=on.clock,
        )
        self.driver = Driver(jobs, runner, catalog.woken)
        self.retention = Retention(catalog, settings, on.clock)
        self.collector = Collector(
            catalog, self.retention, outcomes, on.store, settings, on.clock, holds=on.holds
        )
        self.declaring = Declaring(
            on.ctl,
            on.data,
            catalog,
            kept.pipelines,
            kept.assignments,
            on.events,
            settings.durability,
            topology.Kept(settings.log_keep_s, settings.log_keep_bytes),
            outcomes_lost=self.driver.begin_anew,
        )


def answering(
    on: Ground,
    kept: Kept,
    work: Work,
    synced: asyncio.Event,
    problems: Callable[[], list[str]],
) -> ApiServer:
    """Return what answers requests.

    Args:
        on: What all stands on.
        kept: What is stored.
        work: What is done.
        synced: Set once requests may be answered.
        problems: What keeps the coordinator from its work.
    """
    catalog, folds = kept.catalog, work.folder.fold
    commits = Commits(catalog, kept.repos, kept.jobsets, on.store, on.clock)
    leaders = KvTable(on.ctl, subjects.LEADERS, records.Candidate)
    planning = Planning(catalog, on.store, on.settings, on.clock)
    inputs = Inputs(on.tables.commits, on.store)
    handlers = {
        **Handlers(
            catalog,
            kept.repos,
            commits,
            kept.ticking,
            folds,
            on.ctl,
            leaders,
            problems,
            on.settings,
        ).all(),
        **PipelineVerbs(
            catalog, kept.pipelines, kept.conduct, kept.deleting, planning, on.ctl
        ).all(),
        **DatumViews(catalog, work.outcomes, folds, on.data, on.wards, inputs).all(),
        **Readers(on.ctl, on.data, on.wards).all(),
        **Upkeep(work.collector, work.retention, kept.repos).all(),
    }
    places, timeout_s = on.settings.requests, on.settings.request_timeout_s
    return ApiServer(on.ctl, handlers, synced, places=places, timeout_s=timeout_s)
