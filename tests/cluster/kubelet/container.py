"""One container of a pod: pulled, configured, started, waited for, and started again by the pod's policy.

What is known of it (`record`) changes before `changed` is called, so that whoever writes statuses always
writes the latest. Each start is a new sandbox; the files that the container itself has written are
gone with the old one, its volumes stay.
"""

import asyncio
import signal
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.cluster.kubelet import configuration, memory, probing, sandbox, statuses, volumes
from tests.cluster.kubelet.backoff import Restarts, delay_s
from tests.cluster.kubelet.configuration import ConfigurationError, Known
from tests.cluster.kubelet.images import Image, Images, environment
from tests.cluster.kubelet.statuses import Object


@dataclass(kw_only=True)
class Terms:
    """How a kubelet treats its containers; a test may change it, for those that start from then on."""

    images: Images
    pace: float
    """Seconds here for one of a kubelet's: what its back-offs and retries are multiplied by."""
    whole_ooms: bool
    """Whether a container goes as a whole when its memory is exhausted."""
    by_looking: bool
    """Whether memory is limited by looking even where the kernel would do it."""
    server_env: dict[str, str]
    """Tells a client in a pod where the API server is."""


class ContainerLife:
    """`live()` runs it; `record` is what is known of it."""

    def __init__(
        self,
        spec: Object,
        pod: Object,
        directory: Path,
        terms: Terms,
        laid_out: Callable[[], Awaitable[tuple[Known, dict[str, Path]]]],
        changed: Callable[[], None],
        names: Sequence[sandbox.Mount],
        *,
        init: bool,
    ) -> None:
        self.spec, self._pod, self._directory, self._terms = spec, pod, directory, terms
        self._laid_out, self._changed, self._init = laid_out, changed, init
        self._names = names
        self.record = statuses.Container(name=spec["name"], image=spec["image"])
        self.sandbox: sandbox.Sandbox | None = None
        """What runs of it now."""
        self._starts = 0

    async def live(self, policy: str) -> None:
        """Run it until the policy (`Always`, `OnFailure`, `Never`) says that it has ended for good."""
        restarts = Restarts()
        while True:
            image = await self._pull()
            began = asyncio.get_running_loop().time()
            code = await self._run(image)
            if policy == "Never" or (policy == "OnFailure" and code == 0):
                return
            ran_s = (asyncio.get_running_loop().time() - began) / self._terms.pace
            if wait_s := restarts.ended(ran_s):
                self._now(self.record.backs_off(wait_s))
                await self._sleep(wait_s)

    def log(self) -> Path:
        """Return where the output of its latest start is."""
        return self._directory / f"{self._starts}.log"

    def send(self, number: int) -> None:
        """Send a signal to what runs of it."""
        if self.sandbox is not None:
            self.sandbox.send(number)

    async def leave(self) -> None:
        """Tell what runs of it to go, and wait until it has: first by its hook, then by SIGTERM."""
        hook = self.spec.get("lifecycle", {}).get("preStop")
        if hook is not None and self.sandbox is not None:
            await self.sandbox.execute(hook["exec"]["command"])
        self.send(signal.SIGTERM)
        await self.end()

    async def end(self) -> None:
        """Wait for what runs of it, and take down how it has ended."""
        if self.sandbox is not None:
            await self._wait(self.sandbox)
        elif isinstance(self.record.state, statuses.Running):  # an image that runs nothing
            self.record = self.record.ended(0, "Completed")

    async def _pull(self) -> Image:
        tries = 0
        while (image := self._terms.images.get(self.record.image)) is None:
            tries += 1
            message = f"no image {self.record.image!r} in the table"
            self._now(self.record.waits("ErrImagePull", message))
            await self._sleep(1)
            message = f"Back-off pulling image {self.record.image!r}"
            self._now(self.record.waits("ImagePullBackOff", message))
            await self._sleep(delay_s(tries))
        return image

    async def _run(self, image: Image) -> int:
        """Start it, wait for its end, return its exit code."""
        container = f"process://{uuid.uuid4().hex}"
        if not image.runs:
            self._now(self.record.runs(container, again=False))
            if self._init:
                self._now(self.record.ended(0, "Completed"))
                return 0
            await asyncio.Event().wait()
        plan = await self._configure(image)
        again, self._starts = self._starts > 0, self._starts + 1
        self._directory.mkdir(parents=True, exist_ok=True)
        limited = memory.limited(
            configuration.memory_limit(self.spec),
            whole=self._terms.whole_ooms,
            by_looking=self._terms.by_looking,
        )
        try:
            self.sandbox = await sandbox.start(plan, self._directory, self.log(), limited)
        except sandbox.CannotStartError as error:
            record = self.record.runs(container, again=again)
            self._now(record.ended(128, "StartError", str(error)))
            return 128
        found = probing.before(self.spec)
        self._now(
            self.record.runs(container, again=again, started=found.started, ready=found.ready)
        )
        return await self._live_on(self.sandbox)

    async def _live_on(self, running: sandbox.Sandbox) -> int:
        """Wait for the end of what runs, and ask it meanwhile how it is."""
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(self._ask(running), name="probes")
            code = await self._wait(running)
            asking.cancel()
        return code

    async def _ask(self, running: sandbox.Sandbox) -> None:
        target = probing.Target(
            container=self.spec,
            address=self._pod["status"]["podIP"],
            execute=running.execute,
        )
        await probing.run(target, self._terms.pace, self._found)
        running.send(signal.SIGTERM)
        await asyncio.sleep(self._pod["spec"]["terminationGracePeriodSeconds"])
        running.send(signal.SIGKILL)

    def _found(self, found: probing.Found) -> None:
        self._now(replace(self.record, started=found.started, ready=found.ready))

    async def _wait(self, running: sandbox.Sandbox) -> int:
        code, out_of_memory = await running.wait()
        running.close()
        self.sandbox = None
        reason = statuses.end_reason(code, out_of_memory=out_of_memory)
        self._now(self.record.ended(code, reason))
        return code

    async def _configure(self, image: Image) -> sandbox.Plan:
        """Return what to start, as soon as all that it refers to is there."""
        while True:
            try:
                known, laid = await self._laid_out()
                return self._plan(image, known, laid)
            except ConfigurationError as error:
                self._now(self.record.waits("CreateContainerConfigError", str(error)))
                await self._sleep(2)

    def _plan(self, image: Image, known: Known, laid: dict[str, Path]) -> sandbox.Plan:
        base = environment(image, self._pod["metadata"]["name"]) | self._terms.server_env
        env = configuration.environment(self.spec, self._pod, base, known)
        context = configuration.security(self.spec, self._pod)
        uid = configuration.user(self.spec, self._pod, image)
        group = context.get("fsGroup")
        return sandbox.Plan(
            command=configuration.command(self.spec, image, env),
            env=env,
            directories=image.directories,
            mounts=[*volumes.mounts(self.spec, laid), *self._names],
            workdir=self.spec.get("workingDir") or image.workdir,
            uid=uid,
            gid=context.get("runAsGroup", 0 if "runAsUser" in context else uid),
            groups=[*context.get("supplementalGroups", []), *([] if group is None else [group])],
            drop_all="ALL" in context.get("capabilities", {}).get("drop", []),
            no_new_privileges=context.get("allowPrivilegeEscalation") is False,
            read_only_root=bool(context.get("readOnlyRootFilesystem")),
        )

    def _now(self, record: statuses.Container) -> None:
        self.record = record
        self._changed()

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._terms.pace)


def kill_at_once(lives: list[ContainerLife]) -> None:
    """Kill what runs of these, so that none sees another one's end."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for life in lives:
            life.send(number)
