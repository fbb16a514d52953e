"""Real workers on a real server: the part of a coordinator that they see, and their processes."""

import asyncio
import contextlib
import hashlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus import backlog, present, topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.publishing import Window
from trunkline.contracts import attempts, messages, subjects
from trunkline.contracts.messages import (
    Assignment,
    Claim,
    DatumInput,
    DatumSet,
    DatumTask,
    File,
    JobTicket,
    LogLine,
    Outcome,
)
from trunkline.contracts.spec import Transform, code_hash
from trunkline.storage.store import Store, open_store

T = TypeVar("T", bound=msgspec.Struct)

PIPELINE = "edges"
_RUN = """
import os
from trunkline.worker_agent.__main__ import run_pair
uid = int(os.environ.get("RUN_AS", "-1"))
if uid >= 0:
    import encodings.idna, ssl, uvloop  # what is imported late: another user may not reach it
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
run_pair(os.environ)
"""
_RUN_STATIC = """
import functools, os, sys, threading
from pathlib import Path
from tests.support import shims
from trunkline.runtime import settings
from trunkline.worker_agent import __main__ as entry, link, linux, namespaces
from trunkline.worker_agent.files import Workspace
stops = entry._Stops()
config = settings.load(entry.Settings, os.environ)
space = Workspace(Path(config.home_dir).absolute())
space.prepare()
linux.become_subreaper()
pid = os.fork()
if pid == 0:
    namespaces.present(space.pfs, space.root)
    os.chdir(space.work)
    argv = shims.on_path("static", config.shim_socket, 6)  # tests wait for 10 s until it is gone
    os.execve(argv[0], argv, {"PATH": os.environ["PATH"]})
threading.Thread(target=entry._bury, args=(pid,), daemon=True).start()
meet = functools.partial(link.accept, config.shim_socket)
sys.exit(entry._run(entry._one(config, os.environ, space, meet, stops)))
"""
"""What a pod's two containers do, as one process and its child: agent and static shim. What a killed shim
leaves is killed as the kernel does it in a container.
"""


class WorkerProcess:
    """An agent and its shim."""

    def __init__(
        self, name: str, environ: dict[str, str], directory: Path, *, static: bool = False
    ) -> None:
        self.name = name
        self.directory = directory
        self.log = directory.with_suffix(".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _RUN_STATIC if static else _RUN],
                env=environ,
                stdout=log,
                stderr=log,
            )

    @property
    def shim(self) -> int:
        """The process id of its shim."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    async def code(self) -> int:
        async with asyncio.timeout(20):
            while self.process.poll() is None:
                await asyncio.sleep(0.01)
        return self.process.returncode


class Lab:
    """One pipeline: a coordinator's part, and workers by name."""

    def __init__(
        self, server: TestServer, data: NatsConnection, directory: Path, *, static: bool
    ) -> None:
        self.server = server
        self.data = data
        self.directory = directory
        self.store_url = f"file://{directory}/store"
        self.store: Store = open_store(self.store_url)
        self.publisher = Window(data)
        self.static = static
        self.workers: dict[str, WorkerProcess] = {}
        self.tickets: list[JobTicket] = []
        self.url = ""

    # --- jobs -------------------------------------------------------------------------------------

    async def job(
        self,
        *cmd: str,
        tries: int = 3,
        timeout_s: float | None = None,
        ack_wait_s: float = 30.0,
        speculates: bool = False,
        traceparent: str = "",
        **transform: object,
    ) -> JobTicket:
        """Assign a new job that runs a command."""
        code = msgspec.convert({"cmd": cmd, **transform}, Transform)
        ticket = JobTicket(
            job=secrets.token_hex(16),
            version=1,
            code_hash=code_hash(code),
            transform=code,
            datum_tries=tries,
            datum_timeout_s=timeout_s,
            speculates=speculates,
            traceparent=traceparent,
        )
        await topology.ensure_job_consumer(
            self.data, ward(PIPELINE), ticket.job, ack_wait_s=ack_wait_s, max_ack_pending=10_000
        )
        self.tickets.append(ticket)
        await self.assign()
        return ticket

    async def shell(self, script: str, **more: object) -> JobTicket:
        return await self.job("sh", "-c", script, **more)  # type: ignore[arg-type]

    async def assign(self) -> None:
        assignment = Assignment(pipeline=PIPELINE, jobs=tuple(self.tickets))
        subject = subjects.assignments(ward(PIPELINE))
        await self.publisher.put(subject, messages.encode(assignment))

    async def withdraw(self, ticket: JobTicket) -> None:
        self.tickets.remove(ticket)
        await self.assign()

    async def file(self, path: str, content: bytes) -> File:
        key = await self.store.put(content)
        sha256 = hashlib.sha256(content).hexdigest()
        return File(path=path, size=len(content), sha256=sha256, object=key)

    async def datum(
        self, ticket: JobTicket, index: int = 0, content: bytes | None = None, **more: object
    ) -> DatumTask:
        """Publish a datum of one file `/d<index>`."""
        task = await self.task(ticket, index, content, **more)
        await self.put(task)
        return task

    async def task(
        self, ticket: JobTicket, index: int = 0, content: bytes | None = None, **more: object
    ) -> DatumTask:
        path = f"/d{index}"
        content = f"content {index}\n".encode() if content is None else content
        given = DatumInput(
            name="images",
            path=path,
            commit=ticket.job,
            files=(await self.file(path, content),),
        )
        task = DatumTask(
            pipeline=PIPELINE,
            job=ticket.job,
            index=index,
            datum=f"{index:032x}",
            fingerprint=f"{index:032x}",
            inputs=(given,),
        )
        return msgspec.structs.replace(task, **more)

    async def put(self, task: DatumTask, *others: DatumTask) -> None:
        """Publish a datum, or several as a set."""
        msg_id = f"{task.job}/{task.index}/{task.generation}.{task.round}"
        if task.beside is not None:
            msg_id += "/copy"
        message = DatumSet(datums=(task, *others)) if others else task
        subject = subjects.datums(ward(PIPELINE), task.job)
        await self.publisher.put(subject, messages.encode(message), msg_id=msg_id)

    async def set_of(self, ticket: JobTicket, count: int) -> list[DatumTask]:
        """Publish one message of several datums."""
        tasks = [await self.task(ticket, index) for index in range(count)]
        await self.put(*tasks)
        return tasks

    async def datums(self, ticket: JobTicket, count: int) -> list[DatumTask]:
        return [await self.datum(ticket, index) for index in range(count)]

    # --- what comes of it -------------------------------------------------------------------------

    async def outcome(self, task: DatumTask, *, timeout_s: float = 20.0) -> Outcome:
        """Return a datum's outcome once it is there."""
        subject = subjects.outcome(ward(PIPELINE), task.job, task.index, task.generation)
        return await self.until(
            subjects.OUTCOMES_STREAM, subject, Outcome, lambda _: True, timeout_s
        )

    async def outcomes(self, tasks: Sequence[DatumTask]) -> list[Outcome]:
        return [await self.outcome(each) for each in tasks]

    async def has_outcome(self, task: DatumTask) -> bool:
        subject = subjects.outcome(ward(PIPELINE), task.job, task.index, task.generation)
        return await self.data.last(subjects.OUTCOMES_STREAM, subject) is not None

    async def ledger(
        self,
        task: DatumTask,
        wanted: Callable[[attempts.Ledger], bool] = lambda _: True,
        *,
        timeout_s: float = 20.0,
    ) -> attempts.Ledger:
        subject = subjects.attempts(ward(PIPELINE), task.job, task.index)
        return await self.until(
            subjects.ATTEMPTS_STREAM, subject, attempts.Ledger, wanted, timeout_s
        )

    async def has_ledger(self, task: DatumTask) -> bool:
        subject = subjects.attempts(ward(PIPELINE), task.job, task.index)
        return await self.data.last(subjects.ATTEMPTS_STREAM, subject) is not None

    async def claim(
        self, worker: str, wanted: Callable[[Claim], bool], *, timeout_s: float = 20.0
    ) -> Claim:
        """Return a worker's claim once it is as wanted."""
        subject = subjects.claims(ward(PIPELINE), worker)
        return await self.until(subjects.CLAIMS_STREAM, subject, Claim, wanted, timeout_s)

    async def executing(self, worker: str, index: int | None = None) -> Claim:
        return await self.claim(
            worker,
            lambda claim: any(
                each.executing and index in (None, each.index) for each in claim.held
            ),
        )

    async def until(
        self,
        stream: str,
        subject: str,
        kind: type[T],
        wanted: Callable[[T], bool],
        timeout_s: float,
    ) -> T:
        async with asyncio.timeout(timeout_s):
            while True:
                stored = await self.data.last(stream, subject)
                if stored is not None:
                    value = messages.decode(subject, stored.data, kind)
                    if wanted(value):
                        return value
                await asyncio.sleep(0.01)

    async def unsettled(self, ticket: JobTicket) -> int:
        """Return how many datums of a job are waiting or in flight."""
        gauge = await backlog.gauge(self.data, PIPELINE, ticket.job)
        return 0 if gauge is None else gauge.pending + gauge.in_flight

    async def until_settled(self, ticket: JobTicket) -> None:
        async with asyncio.timeout(20):
            while await self.unsettled(ticket):
                await asyncio.sleep(0.01)

    async def read(self, outcome: Outcome) -> dict[str, bytes]:
        """Return a datum's output."""
        assert outcome.files is not None
        found = {}
        for file in outcome.files:
            found[file.path] = b"".join([part async for part in self.store.read(file)])
        return found

    async def logs(self, task: DatumTask) -> list[LogLine]:
        """Return what is in the log stream of a datum."""
        subject = subjects.logs_of(ward(PIPELINE), task.job, task.index)
        pages = present.behind(self.data, subjects.LOGS_STREAM, subject)
        return [
            messages.decode(subject, each.data, LogLine) async for page in pages for each in page
        ]

    # --- workers ----------------------------------------------------------------------------------

    async def worker(
        self, name: str, ticket: JobTicket, *, run_as: int = -1, **settings: object
    ) -> WorkerProcess:
        """Start a worker, as another user if this one is root."""
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        given = {
            "data_url": await self.server.issuer.worker_url(PIPELINE),
            "store": self.store_url,
            "pipeline": PIPELINE,
            "ward": ward(PIPELINE).token,
            "worker": name,
            "code_hash": ticket.code_hash,
            "home_dir": directory,
            "heartbeat_s": 1.0,
            **settings,
        }
        environ = {f"TRUNKLINE_{key.upper()}": str(value) for key, value in given.items()}
        environ = {"PATH": os.environ["PATH"], "SECRET_OF_THE_AGENT": "x", **environ}
        if run_as >= 0:
            environ["RUN_AS"] = str(run_as)
            self.directory.chmod(0o755)
            for each in (self.directory / "store", *self.directory.glob("store/**/*"), directory):
                os.chown(each, run_as, run_as)
        static = self.static and run_as < 0
        if static:
            environ["TRUNKLINE_SHIM_SOCKET"] = f"{directory}.sock"
        self.workers[name] = WorkerProcess(name, environ, directory, static=static)
        return self.workers[name]

    async def close(self) -> None:
        for worker in self.workers.values():
            if worker.process.poll() is None:
                worker.kill()
            worker.process.wait(10)
            sys.stderr.write(f"--- {worker.name}\n{worker.log.read_text()}")  # pytest shows it


@contextlib.asynccontextmanager
async def lab(server: TestServer, *, static: bool = False) -> AsyncIterator[Lab]:
    """Give a pipeline on a server, and end all its workers afterwards.

    Args:
        server: Running.
        static: Whether its workers' commands are started by the static shim.
    """
    await server.declare(PIPELINE)
    with tempfile.TemporaryDirectory(prefix="tl", ignore_cleanup_errors=True) as name:
        async with server.connect("coordinator-data") as data:
            made = Lab(server, data, Path(name), static=static)
            try:
                yield made
            finally:
                await made.close()


__all__ = ["PIPELINE", "Lab", "WorkerProcess", "lab"]
