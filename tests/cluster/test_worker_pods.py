"""Worker pods as they are made, on the process kubelet: from files in a repo to the output commit."""

import collections
import contextlib
import os
import re
import signal
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from tests.cluster import pods, worker_site
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.pods import Pods
from tests.cluster.worker_site import Site
from tests.support import installation
from tests.support.operator import OperatorServer

from trunkline.client import files
from trunkline.contracts import errors
from trunkline.contracts.states import Cause, JobState

WORDS = """
for file in /pfs/texts/*; do
  tr -cs 'a-z' '\\n' < "$file" | sed '/^$/d' | sort | uniq -c | awk '{print $2 "\\t" $1}' > "/pfs/out/${file##*/}.tsv"
done
"""


@pytest.fixture
async def site(
    operator_server: OperatorServer, made: Pods, kubelet: Kubelet, tmp_path: Path
) -> AsyncIterator[Site]:
    await kubelet.add_node("n1")
    async with worker_site.running(operator_server, made, kubelet, tmp_path) as started:
        yield started


async def read(site: Site, repo: str) -> dict[str, bytes]:
    found = {}
    async for file in files.ls(site.client, repo, "master"):
        found[file.path] = b"".join([piece async for piece in site.client.store.read(file)])
    return found


def texts(count: int) -> dict[str, bytes]:
    return {
        f"/t{n}": f"the {'datum ' * (n % 7)}of word{'s' * (n % 3)} {n}\n".encode()
        for n in range(count)
    }


def counted(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    found = {}
    for path, data in contents.items():
        counts = sorted(collections.Counter(re.findall(rb"[a-z]+", data)).items())
        found[f"{path}.tsv"] = b"".join(b"%s\t%d\n" % each for each in counts)
    return found


async def test_words_of_500_files_are_counted_by_pods(site: Site, kubelet: Kubelet) -> None:
    contents = texts(500)
    spec = await site.pipeline("words", WORDS)
    names = await site.start(spec, 2)
    job = await site.put("texts", contents)
    await site.succeeded("words", job, within_s=40)
    assert await read(site, "words") == counted(contents)
    for name in names:
        await site.pods.until(name, pods.running)
        assert kubelet.log(site.pods.namespace, name, "user") == ""


SNOOP = """
exec > /pfs/out/seen 2>&1
env
cat /proc/*/environ /proc/*/cmdline /proc/*/maps | tr '\\0' '\\n'
ls -lR /run /trunkline /var/run /home 2>/dev/null
cat $(find / -xdev -maxdepth 6 \\( -name '*creds*' -o -name '*ward*' -o -name token \\) -type f -not -path '/usr/*') /dev/null
cat /run/secrets/*/* /var/run/secrets/*/*/* /home/trunkline/* /run/trunkline/*
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
    site: Site,
) -> None:
    """By environment, files, processes, sockets; and what it does to the shim has no effect."""
    script = SNOOP.replace("PORT", str(site.server.credentials.port))
    said = {
        "cmd": ["sh"],
        "stdin": script.splitlines(),
    }  # so the words looked for stand in no arguments
    spec = await site.pipeline("snoop", "", transform=said)
    (name,) = await site.start(spec)
    job = await site.put("texts", {"/a": b"a"})
    await site.succeeded("snoop", job)
    seen = (await read(site, "snoop"))["/seen"].decode(errors="replace")
    told = await site.pods.core.read_namespaced_secret(
        "trunkline-snoop-worker-creds", site.pods.namespace
    )
    secrets = [b64decode(text).decode() for text in told.data.values()]
    hidden = [line for text in secrets for line in text.splitlines() if len(line) > 12]
    assert len(hidden) > 2
    for word in ("LEAK", "TRUNKLINE_DATA_URL", "TRUNKLINE_STORE", str(site.store), *hidden):
        assert word not in seen, [line for line in seen.splitlines() if word in line]
    assert "socket: [Errno" in seen
    assert "Authorization" in seen
    found = await site.pods.until(name, pods.running)
    assert [pods.status(found, each).restart_count for each in ("user", "agent")] == [0, 0]


HUNGRY = "sh -c 'exec tail /dev/zero'; exit $?"


async def test_a_command_that_takes_too_much_memory_is_charged_and_nobody_else_ends(
    site: Site,
) -> None:
    limits = {"resource_limits": {"memory": "64Mi"}, "datum_tries": 2}
    spec = await site.pipeline("hungry", HUNGRY, **limits)
    (name,) = await site.start(spec)
    job = await site.put("texts", {"/a": b"a"})
    assert (await site.ended("hungry", job)).state is JobState.FAILURE
    tries = await site.attempts("hungry", job)
    assert [each.cause for each in tries] == [Cause.OOM, Cause.OOM]
    found = await site.pods.until(name, pods.running)
    assert [pods.status(found, each).restart_count for each in ("user", "agent")] == [0, 0]


async def test_an_agent_outlives_its_user_container_and_goes_on_with_the_next(
    site: Site, kubelet: Kubelet
) -> None:
    """What the container's death has cut short is tried again, and charged to nobody."""
    spec = await site.pipeline("slow", "echo began; sleep 2; cp /pfs/texts/* /pfs/out")
    (name,) = await site.start(spec)
    job = await site.put("texts", {"/a": b"a"})
    await begun(site, "slow", job)
    agent = kubelet.pid(site.pods.namespace, name, "agent")
    os.kill(kubelet.pid(site.pods.namespace, name, "user"), signal.SIGKILL)
    await site.succeeded("slow", job)
    (first, last) = await site.attempts("slow", job)
    assert (first.cause, last.cause) == (Cause.CONTAINER_LOST, Cause.DONE)
    assert first.incarnation != last.incarnation
    found = await site.pods.until(name, pods.running)
    assert pods.status(found, "user").restart_count == 1
    assert kubelet.pid(site.pods.namespace, name, "agent") == agent


async def test_a_killed_agent_comes_back_and_finds_the_same_user_container(
    site: Site, kubelet: Kubelet
) -> None:
    """Its directories are cleared in place, also of what only the command could read."""
    script = "mkdir -p /pfs/x/y; chmod 700 /pfs/x; chmod 000 /pfs/x/y; echo began; sleep 1; ls /pfs > /pfs/out/ls"
    spec = await site.pipeline("slow", script, datum_tries=3)
    (name,) = await site.start(spec)
    job = await site.put("texts", {"/a": b"a"})
    await begun(site, "slow", job)
    os.kill(kubelet.pid(site.pods.namespace, name, "agent"), signal.SIGKILL)
    await site.succeeded("slow", job)
    assert (await read(site, "slow"))["/ls"] == b"out\ntexts\nx\n"
    found = await site.pods.until(name, pods.running)
    assert pods.status(found, "user").restart_count == 0
    assert pods.status(found, "agent").restart_count == 1


async def test_a_deleted_pod_finishes_what_runs_and_gives_the_rest_to_others(
    site: Site,
) -> None:
    spec = await site.pipeline("slow", "echo began; sleep 2; cp /pfs/texts/* /pfs/out")
    names = await site.start(spec, 2)
    contents = {f"/t{n}": b"x" for n in range(4)}
    job = await site.put("texts", contents)
    await begun(site, "slow", job)
    await site.pods.delete(names[0])
    await site.pods.until_gone(names[0])
    await site.succeeded("slow", job)
    assert await read(site, "slow") == contents
    assert {each.cause for each in await site.attempts("slow", job)} <= {Cause.DONE}


async def begun(site: Site, pipeline: str, job: str) -> None:
    """Return once a command has printed its first line."""

    async def look() -> bool:
        with contextlib.suppress(errors.RequestRefusedError):
            lines = [line async for line in site.client.logs(pipeline, job)]
            return any("began" in line.line.text for line in lines)
        return False

    await installation.until(look, what="the first line of a command")
