"""Carries out what was planned: several at once, each once, with patience where it fails."""

import asyncio
import logging
from collections.abc import Callable

from trunkline.contracts import errors
from trunkline.contracts.spec import PipelineSpec
from trunkline.contracts.wards import Wards
from trunkline.runtime.clock import Clock
from trunkline.scaler.core.plan import Change, Create, Delete, Drain, Phase, Seen
from trunkline.scaler.core.starts import Starts
from trunkline.scaler.counting import Counting
from trunkline.scaler.drains import Drains
from trunkline.scaler.ports import (
    Cluster,
    ClusterUnavailableError,
    WorkerRefusedError,
    WorkerSpec,
)

log = logging.getLogger(__name__)


class Hands:
    """What is being done, and which pipelines have trouble to start any."""

    def __init__(
        self,
        cluster: Cluster,
        drains: Drains,
        wards: Wards,
        clock: Clock,
        *,
        at_once: int,
        wake: Callable[[], None],
        counting: Counting,
    ) -> None:
        self._cluster, self._drains, self._clock, self._wake = cluster, drains, clock, wake
        self._wards, self._counting = wards, counting
        self._slots = asyncio.Semaphore(at_once)
        self._doing: set[str] = set()
        self._making: dict[str, dict[str, Create]] = {}
        """Pipeline -> name -> what is being made."""
        self._starts: dict[str, Starts] = {}

    def starts(self, pipeline: str) -> Starts:
        """Return how a pipeline's starts have gone lately."""
        return self._starts.setdefault(pipeline, Starts())

    def forget(self, pipeline: str) -> None:
        """The pipeline is gone."""
        self._starts.pop(pipeline, None)

    def making(self, pipeline: str) -> list[Seen]:
        """Return the workers of a pipeline that are being created right now."""
        return [
            Seen(name=change.name, code_hash=change.code_hash, phase=Phase.STARTING)
            for change in self._making.get(pipeline, {}).values()
        ]

    def begin(
        self, pipeline: str, change: Change, spec: PipelineSpec | None, tasks: asyncio.TaskGroup
    ) -> bool:
        """Begin to carry out one change; return False if that is not the time for it."""
        if change.name in self._doing:
            return False
        if isinstance(change, Create) and (
            spec is None or self.starts(pipeline).wait_s(self._clock.monotonic_s()) > 0
        ):
            return False
        self._doing.add(change.name)
        if isinstance(change, Create):
            self._making.setdefault(pipeline, {})[change.name] = change
        name = f"{type(change).__name__.lower()}-{change.name}"
        tasks.create_task(self._do(pipeline, change, spec), name=name)
        return True

    async def _do(self, pipeline: str, change: Change, spec: PipelineSpec | None) -> None:
        extra = {"pipeline": pipeline, "worker": change.name}
        try:
            async with self._slots:
                match change:
                    case Create():
                        assert spec is not None
                        await self._create(pipeline, change, spec)
                    case Drain():
                        log.info("worker is to drain", extra={**extra, "reason": change.reason})
                        await self._drains.ask(pipeline, change)
                    case Delete():
                        log.info("worker is deleted", extra={**extra, "reason": change.reason})
                        await self._cluster.delete(change.name)
        except ClusterUnavailableError as error:
            # unknown whether it was done: the next look shows it
            self.starts(pipeline).failed(str(error), self._clock.monotonic_s())
            log.warning("cluster does not answer", extra={**extra, "reason": str(error)})
        finally:
            self._done(pipeline, change)
            self._wake()

    def _done(self, pipeline: str, change: Change) -> None:
        self._doing.discard(change.name)
        making = self._making.get(pipeline, {})
        making.pop(change.name, None)
        if not making:
            self._making.pop(pipeline, None)

    async def _create(self, pipeline: str, change: Create, spec: PipelineSpec) -> None:
        extra = {"pipeline": pipeline, "worker": change.name}
        worker = WorkerSpec(
            name=change.name,
            pipeline=pipeline,
            ward=self._wards.of(pipeline).token,
            code_hash=change.code_hash,
            spec=spec,
        )
        try:
            await self._cluster.create(worker)
            self._counting.created(pipeline)
            log.info("worker created", extra=extra)
        except errors.AlreadyExistsError:
            log.info("worker is there already", extra=extra)
        except WorkerRefusedError as error:
            self.starts(pipeline).failed(str(error), self._clock.monotonic_s())
            log.warning("worker refused", extra={**extra, "reason": str(error)})
