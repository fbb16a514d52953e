"""Executes datums by the user's command, through the shim, on files below /pfs."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from trunkline.contracts import errors
from trunkline.contracts.messages import JobTicket
from trunkline.runtime.clock import Clock
from trunkline.storage.store import Store
from trunkline.storage.trees import Uploaded
from trunkline.worker_agent import environment, process, protocol
from trunkline.worker_agent.core import asking
from trunkline.worker_agent.core import outcome as verdicts
from trunkline.worker_agent.core.outcome import Bad
from trunkline.worker_agent.execution import Ran
from trunkline.worker_agent.files import OUT, Place, Workspace
from trunkline.worker_agent.link import Link
from trunkline.worker_agent.printing import Output, Printer
from trunkline.worker_agent.warm import Wanted, Warm
from trunkline.worker_agent.work import Datum

_COLD, _WARM = process.ALL_NUMBERS[:-1], process.ALL_NUMBERS[-1:]
"""Which recipes the shim knows of either: a command that stays up has one of its own."""


_OUR_TOOLS = os.path.dirname(sys.executable)  # noqa: PTH120
"""Where `trunkline-next` is on this machine."""


class _Known(NamedTuple):
    """What was made of a job's ticket."""

    ticket: JobTicket
    command: process.Command
    facts: dict[str, str]
    """What a command that stays up is told of it."""


class Commands:
    """See `execution.Executor`.

    A command may take its worker along, so the claim says that it executes before it is started.

    Args:
        store: Of files.
        space: The worker's directories, prepared.
        link: To the shim.
        printer: Takes what commands print.
        clock: To measure by.
        worker: This worker's name.
        pfs: Where commands find their files.
        inherited: The part of the environment that every command gets.
        foreign: Whether commands run in a container of their own: in its directory, by its environment, as
            its user or the spec's.
        begun: To be awaited before a command starts: the claim that says so is sent.
        warm_start_s: See `warm.Warm`.
    """

    stages = True

    def __init__(
        self,
        *,
        store: Store,
        space: Workspace,
        link: Link,
        printer: Printer,
        clock: Clock,
        worker: str,
        pfs: str,
        inherited: Mapping[str, str],
        foreign: bool,
        begun: Callable[[], Awaitable[None]],
        warm_start_s: float,
    ) -> None:
        self._store, self._space, self._link, self._printer = store, space, link, printer
        self._clock, self._worker, self._pfs = clock, worker, pfs
        self._inherited, self._foreign, self._begun = inherited, foreign, begun
        self._runner = process.Runner(link, clock=clock, numbers=_COLD)
        warm = process.Runner(link, clock=clock, numbers=_WARM)
        self._warm = Warm(warm, space, clock=clock, pfs=pfs, start_s=warm_start_s)
        self._commands: dict[str, _Known] = {}
        """By job, the one that was used last at the end."""

    async def stage(self, datum: Datum) -> None:
        """Fetch a datum's input files."""
        place = self._place(datum)
        began_s = self._clock.monotonic_s()
        await self._space.stage(self._store, datum.task, place)
        datum.measure(
            wait_s=began_s - datum.received_s,
            download_s=self._clock.monotonic_s() - began_s,
            download_bytes=place.bytes,
        )

    def present(self, datum: Datum) -> None:
        """Let the command find the datum's files below /pfs."""
        self._space.present(self._place(datum))

    async def run(self, datum: Datum) -> Ran:
        """Run the command on the files that are staged."""
        warm = datum.ticket.transform.datum_batching
        if not (warm and self._warm.up):
            await self._begun()
        with self._printer.output(datum.task) as output:
            run = await (self._handed if warm else self._started)(datum, output)
        self.withdraw(datum)
        if run.left:
            self._place(datum).known = None
        datum.measure(process_s=run.wall_s, cpu_s=run.cpu_s, peak_rss_bytes=run.peak_rss_bytes)
        accepted = datum.ticket.transform.accept_return_code
        return Ran(verdicts.judge(run.ended, accepted), output)

    async def _started(self, datum: Datum, output: Output) -> process.Run:
        return await self._runner.run(
            self._known(datum).command,
            output.take,
            own=environment.of_datum(datum.task, pfs=self._pfs),
            timeout_s=datum.ticket.datum_timeout_s,
        )

    async def _handed(self, datum: Datum, output: Output) -> process.Run:
        """Hand it to the command that stays up."""
        command, facts = self._known(datum)[1:]
        task, own = datum.task, environment.of_datum(datum.task, pfs=self._pfs)
        lines = asking.datum(
            task.datum,
            environment.matches(task, pfs=self._pfs),
            f"{self._pfs}/{OUT}",
            {**facts, **own},
        )
        timeout_s = datum.ticket.datum_timeout_s
        wanted = Wanted(command, datum.ticket.transform, own, lines, timeout_s)
        return await self._warm.run(wanted, output.take)

    def _known(self, datum: Datum) -> _Known:
        """Return what the datums of a job have in common, the same object for all of them."""
        ticket = datum.ticket
        known = self._commands.pop(ticket.job, None)
        if known is None or (known.ticket is not ticket and known.ticket != ticket):
            known = self._made(datum)
        self._commands[ticket.job] = known
        if len(self._commands) > protocol.RECIPES:
            del self._commands[next(iter(self._commands))]
        return known

    def _made(self, datum: Datum) -> _Known:
        transform = datum.ticket.transform
        lines = "".join(f"{line}\n" for line in transform.stdin)
        facts = environment.of_job({}, datum.ticket, datum.task, pfs=self._pfs, worker=self._worker)
        env = {**self._inherited, **facts}
        if transform.datum_batching and not self._foreign:
            env["PATH"] = f"{env['PATH']}{os.pathsep}{_OUR_TOOLS}"
        command = process.Command(
            argv=transform.cmd,
            env=env,
            cwd=transform.working_dir or ("" if self._foreign else str(self._space.work)),
            stdin=lines.encode("utf-8", "surrogateescape"),
            inherit_env=self._foreign,
            user=transform.user if self._foreign else "",
        )
        return _Known(datum.ticket, command, facts)

    async def store(self, datum: Datum) -> Uploaded | Bad:
        """Store the output files; the next command is started first, if there is one."""
        await asyncio.sleep(0)
        began_s = self._clock.monotonic_s()
        place = self._place(datum)
        opened = False
        if self._foreign:
            await self._link.chmod(str(place.out))
            opened = True
        while True:
            try:
                stored = await self._space.upload(self._store, place)
            except errors.InvalidPathError as error:
                if opened:
                    return verdicts.judge_output(error.path, error.reason)
                await self._link.chmod(str(place.out))  # its rights may be all that is wrong
                opened = True
            else:
                upload_s = self._clock.monotonic_s() - began_s
                datum.measure(upload_s=upload_s, upload_bytes=stored.bytes)
                return stored

    def withdraw(self, datum: Datum) -> None:
        """Take the datum's files out of /pfs."""
        if datum.place is not None:
            self._space.withdraw(datum.place)

    def discard(self, datum: Datum) -> None:
        """Delete the datum's files soon."""
        if datum.place is not None:
            self._space.discard_soon(datum.place)
            datum.place = None

    async def end(self) -> None:
        """Let a command that stayed up end."""
        await self._warm.end()

    def _place(self, datum: Datum) -> Place:
        if datum.place is None:
            datum.place = self._space.place()
        return datum.place
