"""Specs that were published: taken one by one, in their order, from the command stream.

A message is acked once all that follows from it is stored: the pipeline's record, or its refusal; where
it holds several specs, that of each of them, whatever becomes of the others. What cannot be used, random
bytes as much as a spec with a missing repo, is refused and acked all the same. A server that does not
answer lets a message come again, after a pause, and so does a failure of our own; but the latter TRIES
times only: then the spec is refused, so that no message stops the others.

Killed before the ack, the same message comes again. Then its sequence is not above the one in the
pipeline's record (`Pipeline.command`), or the spec is the one that is in force, or the refusal is
written again: each time the second taking changes nothing, nor does it undo a newer spec. The events
carry a Msg-Id made of the sequence.

If the stream itself was lost and made again, its sequences begin anew, below those in the records:
what a record holds above the stream's last one at the start is of the lost stream, and forgotten.
"""

import asyncio
import logging

from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Delivery
from trunkline.bus.pulls import StandingPull
from trunkline.contracts import errors, spec, spec_parsing, subjects
from trunkline.coordinator.core import pipelines as core
from trunkline.coordinator.events import Events
from trunkline.coordinator.pipelines import Pipelines
from trunkline.runtime import backoff, tracing

log = logging.getLogger(__name__)

TRIES = 5
"""How often a spec at which we fail is taken in hand."""


class Commands:
    """Takes published specs."""

    def __init__(self, ctl: NatsConnection, pipelines: Pipelines, events: Events) -> None:
        self._ctl, self._pipelines, self._events = ctl, pipelines, events

    async def run(self) -> None:
        """Take specs for ever."""
        info = await self._ctl.js_api(f"STREAM.INFO.{subjects.COMMANDS_STREAM}")
        await self._pipelines.forget_commands(above=info["state"]["last_seq"])
        waiting: asyncio.Queue[Delivery | errors.PermissionViolationError] = asyncio.Queue()
        pull = StandingPull(
            self._ctl,
            subjects.COMMANDS_STREAM,
            subjects.COMMANDS_CONSUMER,
            waiting.put_nowait,
            on_failure=waiting.put_nowait,
        )
        pull.start()
        failures = 0
        try:
            while True:
                if waiting.empty():
                    pull.want(1)
                delivery = await waiting.get()
                if isinstance(delivery, errors.PermissionViolationError):
                    raise delivery
                if not delivery.current:
                    continue
                if await self._settle(delivery, failures):
                    failures = 0
                    await delivery.ack()
                else:
                    failures += 1
                    await asyncio.sleep(backoff.delay_s(failures))
                    await delivery.nak()
        finally:
            await pull.stop()

    async def _settle(self, delivery: Delivery, failures: int) -> bool:
        """Take a spec; return False if it must come again."""
        try:
            await self._take(delivery)
        except errors.UnavailableError as error:
            log.warning("spec must wait", extra={"reason": str(error)})
            return False
        except Exception:  # the outermost loop of a command
            extra = {"sequence": delivery.sequence, "failures": failures + 1}
            log.exception("failed to take a spec", extra=extra)
            if failures + 1 < TRIES:
                return False
            await self._refuse(None, delivery, (("$", "the coordinator has failed at it"),))
        return True

    async def _take(self, delivery: Delivery) -> None:
        tracing.begin(delivery.headers)
        try:
            documents = spec_parsing.documents(delivery.data)
        except errors.InvalidSpecError as error:
            await self._refuse(None, delivery, tuple(error.problems))
            return
        taken: set[str] = set()
        for position, document in enumerate(documents):
            try:
                await self._pipelines.apply(_another(document, taken), delivery.sequence)
            except errors.InvalidSpecError as error:
                await self._refuse(document, delivery, tuple(error.problems), position)

    async def _refuse(
        self, document: object, delivery: Delivery, problems: core.Problems, position: int = 0
    ) -> None:
        name = core.name_in(document)
        kept = core.bounded(problems)
        log.warning(
            "spec refused",
            extra={
                "pipeline": name or core.UNNAMED,
                "sequence": delivery.sequence,
                "problems": kept[:5],
            },
        )
        if name is not None:
            await self._pipelines.refuse(name, kept, delivery.sequence)
        await self._events.tell(
            "spec-refused",
            name or core.UNNAMED,
            str(errors.InvalidSpecError(kept)),
            facts={"problems": kept, "sequence": delivery.sequence},
            msg_id=f"spec-refused/{delivery.sequence}/{position}",
        )


def _another(document: object, taken: set[str]) -> spec.PipelineSpec:
    """Return a spec of a message; each must be of another pipeline, as they share a sequence."""
    wanted = spec_parsing.convert(document)
    if wanted.name in taken:
        text = "an earlier spec of the same message has this name"
        raise errors.InvalidSpecError([("$.pipeline.name", text)])
    taken.add(wanted.name)
    return wanted
