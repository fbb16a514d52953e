"""Executes datums by the user's command, through the shim, on files below /pfs.

When the command has failed by a fault of its own, the spec's `err_cmd` runs in the same place: files and
environment are the same, what the command has left in /pfs is there, and the time limit begins anew. A
command that stays up waits meanwhile. A crash in between is one while the datum executes.
"""

import asyncio
from collections.abc import Awaitable, Callable

from trunkline.contracts import errors
from trunkline.contracts.states import Cause
from trunkline.runtime.clock import Clock
from trunkline.storage.store import Store
from trunkline.storage.trees import Uploaded
from trunkline.worker_agent import elsewhere, environment, process
from trunkline.worker_agent.core import asking
from trunkline.worker_agent.core import outcome as verdicts
from trunkline.worker_agent.core.outcome import Bad, Good, Recovered
from trunkline.worker_agent.execution import Ran
from trunkline.worker_agent.files import OUT, Place, Workspace
from trunkline.worker_agent.job_commands import JobCommands, Made
from trunkline.worker_agent.link import Link
from trunkline.worker_agent.printing import Output, Printer
from trunkline.worker_agent.secret_files import SecretError
from trunkline.worker_agent.warm import Wanted, Warm
from trunkline.worker_agent.work import Datum

_COLD, _WARM = process.ALL_NUMBERS[:-1], process.ALL_NUMBERS[-1:]
"""Which recipes the shim knows of either: a command that stays up has one of its own."""


class Commands:
    """See `execution.Executor`.

    A command may take its worker along, so the claim says that it executes before it is started.

    Args:
        store: Of files.
        space: The worker's directories, prepared.
        link: To the shim.
        printer: Takes what commands print.
        clock: To measure by.
        made: The commands of jobs.
        pfs: Where commands find their files.
        foreign: Whether commands run in a container of their own, as another user maybe: what they have
            written is opened up to us before it is moved, since only there they see it.
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
        made: JobCommands,
        pfs: str,
        foreign: bool,
        begun: Callable[[], Awaitable[None]],
        warm_start_s: float,
    ) -> None:
        self._store, self._space, self._link, self._printer = store, space, link, printer
        self._clock, self._made, self._pfs = clock, made, pfs
        self._foreign, self._begun = foreign, begun
        opened = pfs if foreign else ""
        self._runner = process.Runner(link, clock=clock, numbers=_COLD, opened=opened)
        warm = process.Runner(link, clock=clock, numbers=_WARM, opened=opened)
        self._warm = Warm(warm, space, clock=clock, pfs=pfs, start_s=warm_start_s)
        self._own: dict[str, str] = {}
        """The variables of the datum that is presented."""

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
        """Let the command find the datum's files below /pfs, and its variables."""
        self._own = environment.of_datum(datum.task, pfs=self._pfs, traceparent=datum.traceparent)
        self._space.present(self._place(datum), self._made.facts(datum).beside(self._own))

    async def run(self, datum: Datum) -> Ran:
        """Run the command on the files that are presented, and `err_cmd` if it fails."""
        transform = datum.ticket.transform
        if not (transform.datum_batching and self._warm.up):
            await self._begun()
        with self._printer.output(datum) as output:
            verdict = await self._tried(datum, output)
        self.withdraw(datum)
        tied = isinstance(verdict, Good) and await self._space.leads_elsewhere(
            self._place(datum), self._pfs
        )
        return Ran(verdict, output, tied=tied)

    async def _tried(self, datum: Datum, output: Output) -> Good | Bad | Recovered:
        transform = datum.ticket.transform
        try:
            made = await self._made.of(datum)
        except SecretError as error:
            return Bad(Cause.USER_EXIT, str(error))
        run = await (self._handed if transform.datum_batching else self._started)(
            datum, made, output
        )
        self._note(datum, run)
        verdict = verdicts.judge(run.ended, transform.accept_return_code)
        if not (transform.err_cmd and isinstance(verdict, Bad) and verdicts.is_its_own(verdict)):
            return verdict
        output.say(f"{verdict.reason}: err_cmd runs")
        with self._printer.output(datum) as said:
            run = await self._run(datum, made.err_cmd, said)
        self._note(datum, run)
        return verdicts.after_err_cmd(verdict, run.ended, transform.accept_return_code)

    async def _started(self, datum: Datum, made: Made, output: Output) -> process.Run:
        return await self._run(datum, made.command, output)

    async def _run(self, datum: Datum, command: process.Command, output: Output) -> process.Run:
        timeout_s = datum.ticket.datum_timeout_s
        return await self._runner.run(command, output.take, own=self._own, timeout_s=timeout_s)

    async def _handed(self, datum: Datum, made: Made, output: Output) -> process.Run:
        """Hand it to the command that stays up."""
        lines = asking.datum(
            datum.task.datum,
            environment.matches(datum.task, pfs=self._pfs),
            f"{self._pfs}/{OUT}",
            {**self._made.facts(datum).variables, **self._own},
        )
        timeout_s = datum.ticket.datum_timeout_s
        made_of = datum.ticket.transform, made.secrets
        wanted = Wanted(made.command, made_of, self._own, lines, timeout_s)
        try:
            return await self._warm.run(wanted, output.take)
        finally:
            await self._runner.open_up()

    def _note(self, datum: Datum, run: process.Run) -> None:
        """Take into account what a run took and left; a datum may have two."""
        if run.left:
            self._place(datum).known = None
        before = datum.figures
        datum.measure(
            process_s=before.process_s + run.wall_s,
            cpu_s=before.cpu_s + run.cpu_s,
            peak_rss_bytes=max(before.peak_rss_bytes, run.peak_rss_bytes),
        )

    async def store(self, datum: Datum) -> Uploaded | Bad:
        """Store the output files; the next command is started first, if there is one."""
        await asyncio.sleep(0)
        began_s = self._clock.monotonic_s()
        place = self._place(datum)
        opened = self._foreign
        user = datum.ticket.transform.user if self._foreign else ""
        reach = elsewhere.Opener(self._link, user).open
        while True:
            try:
                stored = await self._space.upload(self._store, place, pfs=self._pfs, reach=reach)
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
