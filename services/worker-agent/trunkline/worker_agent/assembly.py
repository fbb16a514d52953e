"""What a worker stands on: its lines to NATS, the side of the user, and what executes datums there."""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from trunkline.bus.connection import NatsConnection
from trunkline.bus.firsts import Firsts
from trunkline.bus.ingest import Ingest
from trunkline.bus.ports import BatchPublisher, Connection, Delivery, FirstPublisher, Publisher
from trunkline.bus.publishing import Window
from trunkline.bus.pulls import StandingPull
from trunkline.contracts import errors, subjects
from trunkline.contracts.wards import Ward
from trunkline.runtime.clock import Clock
from trunkline.storage.secrets import Secrets as KeptSecrets
from trunkline.storage.store import Store
from trunkline.worker_agent.commands import Commands
from trunkline.worker_agent.execution import Executor
from trunkline.worker_agent.files import Workspace
from trunkline.worker_agent.idle import Idle
from trunkline.worker_agent.job_commands import JobCommands, Secrets
from trunkline.worker_agent.leases import Pull
from trunkline.worker_agent.link import Link
from trunkline.worker_agent.printing import Printer
from trunkline.worker_agent.protocol import Hello, HelloFlag
from trunkline.worker_agent.secret_files import HandedOver, SecretFiles
from trunkline.worker_agent.settings import Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lines:
    """What a worker has of NATS, all on one connection in the account DATA."""

    ward: Ward
    """What its subjects begin with."""
    connection: Connection
    publisher: Publisher
    firsts: FirstPublisher
    """For outcomes."""
    ingest: BatchPublisher
    """For what commands print."""
    pull: Pull
    """Makes the standing pull of a job."""


def lines(connection: NatsConnection, ward: Ward) -> Lines:
    """Return what a worker has of NATS on this connection."""

    def pull(
        job: str,
        on_delivery: Callable[[Delivery], None],
        on_failure: Callable[[errors.PermissionViolationError], None],
    ) -> StandingPull:
        stream, consumer = subjects.datums_stream(ward.pipeline), subjects.job_consumer(job)
        return StandingPull(connection, stream, consumer, on_delivery, on_failure=on_failure)

    publisher = Window(connection)
    return Lines(
        ward=ward,
        connection=connection,
        publisher=publisher,
        firsts=Firsts(connection, publisher),
        ingest=Ingest(connection),
        pull=pull,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class UserSide:
    """Where commands run: who starts them, and the directories that are shared with them."""

    link: Link
    """To the shim."""
    hello: Hello
    """What the shim has said of itself."""
    space: Workspace
    """Prepared."""
    inherited: Mapping[str, str]
    """See `environment.base`."""

    @property
    def mounted(self) -> bool:
        """Whether commands see their files below /pfs."""
        return HelloFlag.PFS_MOUNTED in self.hello.flags

    @property
    def terminating(self) -> bool:
        """Whether it was told to end before we have met."""
        return HelloFlag.TERMINATING in self.hello.flags


def executor(
    config: Settings,
    side: UserSide,
    store: Store,
    printer: Printer,
    clock: Clock,
    begun: Callable[[], Awaitable[None]],
) -> Executor:
    """Return what executes datums.

    Args:
        config: What the worker is told.
        side: Where commands run.
        store: Of files.
        printer: Takes what they print.
        clock: The time.
        begun: Has a claim sent that is due, before a command starts.
    """
    if config.idle_s is not None:
        return Idle(clock, config.idle_s)
    pfs = "/pfs" if side.mounted else str(side.space.pfs)
    foreign = bool(config.shim_socket)
    made = JobCommands(
        secrets=_secrets(config, side),
        worker=config.worker,
        address=config.worker_ip,
        pfs=pfs,
        work=str(side.space.work),
        inherited=side.inherited,
        foreign=foreign,
    )
    return Commands(
        store=store,
        space=side.space,
        link=side.link,
        printer=printer,
        clock=clock,
        made=made,
        pfs=pfs,
        foreign=foreign,
        begun=begun,
        warm_start_s=config.warm_start_s,
    )


def _secrets(config: Settings, side: UserSide) -> Secrets:
    if not config.secrets_dir:
        return HandedOver()
    return SecretFiles(KeptSecrets(Path(config.secrets_dir)), side.link, mounted=side.mounted)
