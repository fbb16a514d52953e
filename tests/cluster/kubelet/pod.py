"""One pod on a node of ours, from the moment it is seen there until nothing of it is left.

1. Volumes are laid out and init steps run, one after the other; then all containers start.
2. They run and are started again (`container.py`). Each change is written to the API by a task of its own,
   which tries until the server has it; what changed meanwhile goes with it.
3. The pod is told to go (its deletionTimestamp was set): from here on nothing is started again. Each container gets
   SIGTERM at the same time, SIGKILL when the grace period is over; only then is the last status written,
   and the pod finalised, which is a deletion without grace. Until then the API shows it as running.
   A pod that the API has already forgotten (a forced deletion) gets SIGKILL at once.
   A pod that the node puts out (`evict`) ends in the same way, but stays, as Failed, until it is deleted.
   A container with a `preStop` command gets its SIGTERM once that has ended.
4. Its directory is removed.

A kubelet that ends, or a node that is killed, stops at any line: all processes die, nothing is written.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.cluster.kubelet import configuration, sandbox, statuses, volumes
from tests.cluster.kubelet.api import TROUBLE, Api, GoneError
from tests.cluster.kubelet.configuration import Known
from tests.cluster.kubelet.container import ContainerLife, Terms, kill_at_once
from tests.cluster.kubelet.names import Behind
from tests.cluster.kubelet.statuses import Object

HOST_IP = "127.0.0.1"
_REFRESH_S = 60
_RETRY_S = 0.2


class PodLife:
    """`live()` is the pod's task; `see()` tells it what the API says."""

    def __init__(
        self,
        pod: Object,
        ip: str,
        directory: Path,
        api: Api,
        terms: Terms,
        heard: Callable[[], None],
    ) -> None:
        """`heard` is called whenever something of it has changed."""
        pod["status"] |= {"podIP": ip, "hostIP": HOST_IP}
        self.pod, self._ip, self._directory, self._api, self._terms = pod, ip, directory, api, terms
        self._began, self._heard = statuses.stamp(), heard
        directory.mkdir(parents=True, exist_ok=True)
        self._hosts = directory / "hosts"
        self._hosts.touch()
        self._changed, self._told_to_go = asyncio.Event(), asyncio.Event()
        self._deleted = asyncio.Event()
        self._inits = self._containers(pod["spec"].get("initContainers", []), init=True)
        self._mains = self._containers(pod["spec"]["containers"], init=False)
        self._grace_s, self._forgotten = 0.0, False
        self._ending: asyncio.Timeout | None = None
        self._last_words: Object = {}
        self.see(pod)

    @property
    def node(self) -> str:
        """The node that it is bound to."""
        return str(self.pod["spec"]["nodeName"])

    @property
    def behind(self) -> Behind:
        """The pod, as services look at it."""
        ready = all(one.record.serves for one in self._mains) and not self._told_to_go.is_set()
        return Behind(pod=self.pod, ready=ready)

    def name(self, hosts: str) -> None:
        """Write its file of hosts; in place, since its containers have the file itself."""
        if self._hosts.read_text() != hosts:
            self._hosts.write_text(hosts)

    def _change(self) -> None:
        self._changed.set()
        self._heard()

    def see(self, pod: Object) -> None:
        """Take note of what the API says of it now."""
        if "deletionTimestamp" in pod["metadata"]:
            grace_s = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
            if self._ending is not None and grace_s < self._grace_s:  # deleted again, in a hurry
                self._ending.reschedule(asyncio.get_running_loop().time() + grace_s)
            self._grace_s = grace_s
            self._deleted.set()
            self._told_to_go.set()

    def forget(self) -> None:
        """Take note that the API does not know it any more."""
        self._forgotten = True
        if self._told_to_go.is_set():
            kill_at_once([*self._inits, *self._mains])
        self._deleted.set()
        self._told_to_go.set()

    def evict(self, message: str, grace_s: float) -> None:
        """End it, and say that it was the node's doing; it stays, failed, until it is deleted."""
        self._last_words = {"phase": "Failed", "reason": "Evicted", "message": message}
        self._grace_s = grace_s
        self._told_to_go.set()

    def container(self, name: str) -> ContainerLife:
        """Return one of its containers."""
        return next(one for one in (*self._inits, *self._mains) if one.record.name == name)

    async def live(self) -> None:
        """Run it; returns when nothing is left of it."""
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(self._write_statuses(), name="statuses")
                refreshing = tasks.create_task(self._refresh(), name="volumes")
                working = tasks.create_task(self._work(), name="containers")
                await self._told_to_go.wait()
                for task in (working, refreshing, writing):
                    task.cancel()
                await asyncio.wait([working, writing])
                await self._end_containers()
            await self._say_goodbye()
        finally:
            kill_at_once([*self._inits, *self._mains])
            for one in (*self._inits, *self._mains):
                await asyncio.shield(one.end())
            shutil.rmtree(self._directory, ignore_errors=True)

    async def _work(self) -> None:
        policy = self.pod["spec"].get("restartPolicy", "Always")
        self._changed.set()
        for init in self._inits:
            await init.live("Never" if policy == "Never" else "OnFailure")
            if self._phase() == "Failed":
                return
        async with asyncio.TaskGroup() as tasks:
            for main in self._mains:
                tasks.create_task(main.live(policy), name=f"container-{main.record.name}")

    async def _end_containers(self) -> None:
        """Stop all at once, within the grace period."""
        running = [one for one in (*self._inits, *self._mains) if one.sandbox is not None]
        if self._forgotten:
            kill_at_once(running)
        try:
            async with asyncio.timeout(self._grace_s) as self._ending, asyncio.TaskGroup() as tasks:
                for one in running:
                    tasks.create_task(one.leave(), name="leave")
        except TimeoutError:
            kill_at_once(running)
        self._ending = None
        for one in (*self._inits, *self._mains):
            await one.end()

    async def _say_goodbye(self) -> None:
        records = [[one.record for one in ones] for ones in (self._inits, self._mains)]
        self._last_words = self._last_words or {"phase": statuses.final_phase(*records)}
        with contextlib.suppress(GoneError):
            if not self._forgotten:
                await self._until_done(lambda: self._api.write_status(self.pod, self._status()))
            await self._deleted.wait()
            if not self._forgotten:
                await self._until_done(lambda: self._api.finalise(self.pod))

    async def _write_statuses(self) -> None:
        with contextlib.suppress(GoneError):
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._until_done(lambda: self._api.write_status(self.pod, self._status()))

    async def _until_done(self, attempt: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await attempt()
            except TROUBLE:
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _refresh(self) -> None:
        """Bring secrets and config maps in volumes up to date, every minute of a kubelet's."""
        while True:
            await asyncio.sleep(_REFRESH_S * self._terms.pace)
            with contextlib.suppress(configuration.ConfigurationError):
                await self._lay_out()

    async def _lay_out(self) -> tuple[Known, dict[str, Path]]:
        known: dict[tuple[str, str], dict[str, bytes]] = {}
        for kind, name in configuration.references(self.pod):
            thing = await self._read(kind, name)
            if thing is not None:
                known[kind, name] = configuration.contents(kind, thing)
        return known, volumes.lay_out(self.pod, self._directory / "volumes", known)

    async def _read(self, kind: str, name: str) -> Object | None:
        while True:
            try:
                return await self._api.contents(kind, name, self.pod["metadata"]["namespace"])
            except TROUBLE:
                await asyncio.sleep(_RETRY_S)

    def _phase(self) -> str:
        records = [[one.record for one in ones] for ones in (self._inits, self._mains)]
        return statuses.phase(self.pod["spec"].get("restartPolicy", "Always"), *records)

    def _status(self) -> Object:
        written = statuses.pod_status(
            phase=self._last_words.get("phase") or self._phase(),
            inits=[one.record for one in self._inits],
            containers=[one.record for one in self._mains],
            pod_ip=self._ip,
            host_ip=HOST_IP,
            began=self._began,
        )
        return written | self._last_words

    def _containers(self, specs: list[Object], *, init: bool) -> list[ContainerLife]:
        return [
            ContainerLife(
                spec,
                self.pod,
                self._directory / "containers" / spec["name"],
                self._terms,
                self._lay_out,
                self._change,
                [
                    sandbox.Mount(source=str(self._hosts), target="/etc/hosts", read_only=True),
                    sandbox.Mount(source="/dev/null", target="/etc/resolv.conf", read_only=True),
                ],
                init=init,
            )
            for spec in specs
        ]
