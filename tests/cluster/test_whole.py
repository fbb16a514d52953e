"""Everything together on a real API server: from the manifests' rights to the output commit."""

import asyncio
import collections
import contextlib
import dataclasses
from base64 import b64decode

import pytest
from tests.cluster import pods, words
from tests.cluster.kubelet import images
from tests.cluster.whole import USER_UID, Whole
from tests.support import gates, installation
from tests.support.gates import Gate

from trunkline.client import files
from trunkline.contracts import errors
from trunkline.scaler.kubernetes import object_names

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = words.script("in")


async def read(installed: Whole, repo: str) -> dict[str, bytes]:
    found = {}
    async for file in files.ls(installed.client, repo, "master"):
        found[file.path] = b"".join([piece async for piece in installed.client.store.read(file)])
    return found


async def test_words_of_500_files_are_counted_by_four_workers(installed: Whole) -> None:
    await installed.add_nodes(2)
    repo = await installed.new_repo("texts")
    pipeline = await installed.pipeline("words", WORDS, repo=repo, parallelism_spec={"constant": 4})
    contents = words.texts(500)
    job = await installed.put(repo, contents)
    await installed.succeeded(pipeline, job, within_s=60)
    assert await read(installed, pipeline) == words.counted(contents)
    assert (await installed.workers(pipeline, 4)).want == 4
    report = await installed.verified(pipeline, job)
    assert (report.datums, report.lost, report.twice) == (500, 0, 0)


async def test_a_word_count_outlives_each_service_and_loses_nothing(installed: Whole) -> None:
    """Scaler, coordinator and nats-server are killed one after the other, then all at once."""
    await installed.add_nodes(2)
    repo = await installed.new_repo("texts")
    pipeline = await installed.pipeline(
        "words",
        f"sleep 0.05; {gates.of_job(installed.gates, '*/t399')}; {WORDS}",
        repo=repo,
        parallelism_spec={"constant": 4},
    )
    contents = words.texts(400)
    job = await installed.put(repo, contents)
    for done, killed in ((20, "scaler"), (60, "coordinator"), (100, "server"), (140, "all")):
        await installed.listed(pipeline, job, done)
        if killed in ("server", "all"):
            await installed.server.kill()
        for name, process in (("scaler", installed.scaler), ("coordinator", installed.coordinator)):
            if killed in (name, "all"):
                process.kill()
                process.start()
        if killed in ("server", "all"):
            await installed.server.start()
    Gate(installed.gates / job).open()
    await installed.succeeded(pipeline, job, within_s=90)
    assert await read(installed, pipeline) == words.counted(contents)
    report = await installed.verified(pipeline, job)
    assert (report.datums, report.lost, report.twice) == (400, 0, 0)
    for pod in await installed.pods_of(pipeline):
        assert [each.restart_count for each in pod.status.container_statuses] == [0, 0]


async def test_a_command_sees_the_secrets_that_its_spec_names(installed: Whole) -> None:
    await installed.add_nodes(1)
    name = installed.name("password")
    body = {"metadata": {"name": name}, "stringData": {"word": "swordfish"}}
    await installed.pods.core.create_namespaced_secret(installed.pods.namespace, body)
    repo = await installed.new_repo("texts")
    pipeline = await installed.pipeline(
        "tells",
        'echo "$WORD" > /pfs/out/variable; cp /secret/word /pfs/out/file',
        repo=repo,
        transform={
            "secrets": [
                {"name": name, "env_var": "WORD", "key": "word"},
                {"name": name, "mount_path": "/secret"},
            ]
        },
    )
    job = await installed.put(repo, {"/a": b"a"})
    await installed.succeeded(pipeline, job)
    assert await read(installed, pipeline) == {"/variable": b"swordfish\n", "/file": b"swordfish"}


async def test_five_workers_on_ten_nodes_become_twenty_and_those_that_are_there_stay(
    installed: Whole,
) -> None:
    """A coefficient of 0.5, then of 2: the first five neither end nor begin anew."""
    await installed.add_nodes(10)
    repo = await installed.new_repo("texts")
    pipeline = await installed.pipeline(
        "words", WORDS, repo=repo, parallelism_spec={"coefficient": 0.5}
    )
    contents = words.texts(250)
    first = await installed.put(repo, contents)
    await installed.succeeded(pipeline, first)
    scaling = await installed.workers(pipeline, 5)
    assert scaling.reason == "10 nodes x 0.5 = 5 workers"
    five = {each.metadata.uid for each in await installed.pods_of(pipeline)}
    await installed.pipeline("words", WORDS, repo=repo, parallelism_spec={"coefficient": 2.0})
    more = {f"/more{path[1:]}": text for path, text in words.texts(250).items()}
    second = await installed.put(repo, more)
    await installed.succeeded(pipeline, second)
    assert await read(installed, pipeline) == words.counted({**contents, **more})
    await installed.workers(pipeline, 20, within_s=90)
    twenty = await installed.pods_of(pipeline)
    assert five < {each.metadata.uid for each in twenty}
    for pod in twenty:
        found = await installed.pods.until(pod.metadata.name, pods.running)
        assert [each.restart_count for each in found.status.container_statuses] == [0, 0]
        assert found.metadata.deletion_timestamp is None
    nodes = collections.Counter(each.spec.node_name for each in twenty)
    assert len(nodes) == 10


async def test_a_standby_pipeline_has_pods_while_there_is_work_and_none_after(
    installed: Whole,
) -> None:
    await installed.add_nodes(1)
    repo = await installed.new_repo("texts")
    pipeline = await installed.pipeline(
        "rests",
        "sleep 1; cp /pfs/in/* /pfs/out",
        repo=repo,
        parallelism_spec={"constant": 10},
        standby=True,
    )
    await installed.workers(pipeline, 0)
    for turn in range(2):
        job = await installed.put(repo, {f"/{turn}-{n}": b"x" for n in range(3)})
        await installed.succeeded(pipeline, job)

        async def rests() -> bool:
            return not await installed.pods_of(pipeline)

        await installation.until(rests, what="an end of all pods")
    made = f'"worker created","pipeline":"{pipeline}"'
    assert installed.scaler.said.decode().count(made) <= 6


@pytest.mark.parametrize("way", ["cordon", "drain"])
async def test_a_node_is_emptied_and_its_worker_finishes_what_it_does(
    installed: Whole, way: str
) -> None:
    """By a cordon, after which the scaler drains; by `kubectl drain`, which evicts, without `--force`."""
    nodes = await installed.add_nodes(2)
    repo = await installed.new_repo("texts")
    pipeline = await installed.pipeline(
        "slow",
        f"echo began; {gates.of_job(installed.gates, '*')}; cp /pfs/in/* /pfs/out",
        repo=repo,
        parallelism_spec={"constant": 2},
    )
    await installed.workers(pipeline, 2)
    there = {each.spec.node_name for each in await installed.pods_of(pipeline)}
    assert there == {each.name for each in nodes}
    contents = {f"/{n}": b"x" for n in range(4)}
    job = await installed.put(repo, contents)
    await begun(installed, pipeline, job, 2)

    async def evicted() -> bool:
        return any(each.metadata.deletion_timestamp for each in await installed.pods_of(pipeline))

    if way == "cordon":
        await nodes[0].cordon()
        Gate(installed.gates / job).open()
    else:
        draining = asyncio.to_thread(
            installed.kubectl, "drain", nodes[0].name, "--delete-emptydir-data", "--timeout=60s"
        )
        async with asyncio.TaskGroup() as tasks:
            drained = tasks.create_task(draining, name="drain")
            await installation.until(evicted, what="an eviction")
            Gate(installed.gates / job).open()
        said = drained.result()
        assert f"node/{nodes[0].name} evicted" in said or "drained" in said

    async def empty() -> bool:
        found = await installed.pods_of(pipeline)
        return [each.spec.node_name for each in found] == [nodes[1].name] * 2

    await installation.until(empty, what="both pods on the other node")
    await installed.succeeded(pipeline, job)
    assert await read(installed, pipeline) == contents
    views = await installed.datums(pipeline, job)
    assert [view.outcome.attempts for view in views if view.outcome] == [1] * 4


WARM = """
import os, trunkline.worker
for datum in trunkline.worker.datums():
    with datum:
        path = datum.inputs["in"]
        text = f"{os.getpid()} {open(path).read()}"
        open(f"{datum.out}/{os.path.basename(path)}", "w").write(text)
"""


async def test_a_command_stays_up_in_its_container_for_all_datums(installed: Whole) -> None:
    """It asks across containers, where the kernel gives its process id as 0."""
    installed.kubelet.images["pythons"] = dataclasses.replace(images.OURS, user=USER_UID)
    await installed.add_nodes(1)
    repo = await installed.new_repo("texts")
    stays = {
        "cmd": ["python3", "-c", WARM],
        "image": "pythons",
        "datum_batching": True,
    }
    pipeline = await installed.pipeline("warm", "", repo=repo, transform=stays)
    job = await installed.put(repo, {f"/{n:02}": b"%d" % n for n in range(50)})
    await installed.succeeded(pipeline, job)
    found = await read(installed, pipeline)
    words = {path: text.decode().split() for path, text in found.items()}
    assert {path: number for path, (_, number) in words.items()} == {
        f"/{n:02}": str(n) for n in range(50)
    }
    assert len({process for process, _ in words.values()}) == 1


SNOOP = """
exec > /pfs/out/seen 2>&1
env
cat /proc/*/environ /proc/*/cmdline /proc/*/maps | tr '\\0' '\\n'
ls -lR /run /trunkline /var/run /home 2>/dev/null
find / -regex '/\\(proc\\|sys\\|dev\\|usr\\|bin\\|sbin\\|lib\\|lib64\\|pfs/out\\)' -prune -o -type f -print -exec cat {} +
ls -l /proc/1/fd /proc/1/root /proc/1/cwd; cat /proc/1/environ /proc/1/mem
ls /home/trunkline/scratch && echo LEAK scratch
touch /run/trunkline/x && echo LEAK run
touch /trunkline/x && echo LEAK tools
python3 - <<'P'
import os, socket
for path in ("/run/trunkline/agent.sock",):
    try:
        s = socket.socket(socket.AF_UNIX); s.connect(path); print("LEAK socket")
    except OSError as error:
        print("socket:", error)
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        os.pidfd_open(int(pid))
        if int(pid) not in (os.getpid(), os.getppid(), 1): print("process", pid, open(f"/proc/{pid}/cmdline").read())
    except OSError as error:
        print(error)
try:
    n = socket.create_connection(("127.0.0.1", PORT)); n.recv(4096)
    n.sendall(b'CONNECT {"verbose":true,"pedantic":false}\\r\\nSUB > 1\\r\\nPING\\r\\n')
    print("nats:", n.recv(4096))
except OSError as error:
    print("nats:", error)
P
for n in KILL STOP TERM; do kill -$n 1; done
true
"""


async def test_user_code_sees_no_credential_and_reaches_neither_agent_nor_server(
    installed: Whole,
) -> None:
    """By environment, by each file that is not the image's, processes, sockets; and what it does
    to the shim has no effect.
    """
    await installed.add_nodes(1)
    repo = await installed.new_repo("texts")
    script = SNOOP.replace("PORT", str(installed.server.credentials.port))
    # by stdin, so that the words looked for stand in no arguments
    told = {"cmd": ["sh"], "stdin": script.splitlines()}
    pipeline = await installed.pipeline("snoop", "", repo=repo, transform=told)
    job = await installed.put(repo, {"/a": b"a"})
    await installed.succeeded(pipeline, job)
    seen = (await read(installed, pipeline))["/seen"].decode(errors="replace")
    own = await installed.pods.core.read_namespaced_secret(
        object_names.credentials_name(pipeline), installed.pods.namespace
    )
    texts_ = [b64decode(text).decode() for text in own.data.values()] + installed.secrets
    hidden = {line for text in texts_ for line in text.splitlines() if len(line) > 12}
    assert len(hidden) > 10
    for word in ("LEAK", "TRUNKLINE_DATA_URL", "TRUNKLINE_STORE", *hidden):
        assert word not in seen, [line for line in seen.splitlines() if word in line]
    assert installed.client.store.url.removeprefix("file://") not in seen
    assert "/trunkline/shim" in seen  # so it did look
    assert "socket: [Errno" in seen
    assert "Authorization" in seen
    (pod,) = await installed.pods_of(pipeline)
    assert [each.restart_count for each in pod.status.container_statuses] == [0, 0]


async def begun(installed: Whole, pipeline: str, job: str, count: int) -> None:
    """Return once so many commands have printed their first line."""

    async def look() -> bool:
        with contextlib.suppress(errors.RequestRefusedError):
            lines = [line async for line in installed.client.logs(pipeline, job)]
            return sum("began" in line.line.text for line in lines) >= count
        return False

    await installation.until(look, what="the first lines of commands")
