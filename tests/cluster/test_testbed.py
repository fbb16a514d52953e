"""What tests may rely on: the controllers work, pods reach the API as who they are, nothing is left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio import client, config
from kubernetes_asyncio.watch import Watch
from tests.cluster import leftovers, pods
from tests.cluster.faults import FaultProxy
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.plane.control_plane import ControlPlane
from tests.cluster.pods import Pods

_WITHOUT_NAMESPACES = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
_PROVE = """
import asyncio, pathlib, sys
from tests.cluster.kubelet import sandbox
try:
    asyncio.run(sandbox.prove(pathlib.Path(sys.argv[1])))
except sandbox.NamespacesRefusedError as error:
    sys.exit(f"refused: {error}")
"""
_OWNER = """
import asyncio, pathlib, sys
from tests.cluster.kubelet import images, memory, sandbox
async def hold():
    plan = sandbox.Plan(
        command=["sh", "-c", "setsid sleep 1000 & sleep 1000"],
        env={"PATH": "/bin"}, directories=images.HOST,
    )
    place = pathlib.Path(sys.argv[1])
    limited = memory.limited(64 << 20, whole=False)
    held = await sandbox.start(plan, place / "c", place / "log", limited)
    print(held.pid, flush=True)
    await held.wait()
asyncio.run(hold())
"""


async def test_where_namespaces_are_refused_the_kubelet_says_so(tmp_path: Path) -> None:
    tried = await asyncio.create_subprocess_exec(
        *(*_WITHOUT_NAMESPACES, sys.executable, "-c", _PROVE, str(tmp_path)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await tried.communicate()
    assert tried.returncode == 1
    assert b"refused: no mount and process namespaces can be had here" in said
    assert b"CAP_SYS_ADMIN" in said


async def test_a_killed_test_run_leaves_no_process_behind(tmp_path: Path) -> None:
    """A process of our own stands for the run: it holds a container, and is killed."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OWNER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    first = int(await owner.stdout.readline())
    owner.send_signal(signal.SIGKILL)
    await owner.wait()
    async with asyncio.timeout(10):
        while Path(f"/proc/{first}").exists():
            await asyncio.sleep(0.02)


async def test_what_killed_runs_left_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    dead, alive = tmp_path / f"trunkline-t-{ended.pid}-a", tmp_path / f"trunkline-t-{os.getpid()}-b"
    dead.mkdir()
    alive.mkdir()
    made = leftovers.make(tmp_path, "t")
    assert set(tmp_path.iterdir()) == {alive, made}


async def test_a_deployment_is_scaled_up_and_down(
    connection: client.ApiClient, namespace: str, kubelet: Kubelet
) -> None:
    await kubelet.add_nodes(["n1", "n2"])
    apps: Any = client.AppsV1Api(connection)
    labels = {"app": "x"}
    spec = pods.pod("", pods.container("c", "sleep 1000"), grace_s=1)["spec"]
    template = {"metadata": {"labels": labels}, "spec": spec}
    await apps.create_namespaced_deployment(
        namespace,
        {
            "metadata": {"name": "d"},
            "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template},
        },
    )
    async with asyncio.timeout(30):
        while (await apps.read_namespaced_deployment("d", namespace)).status.ready_replicas != 3:
            await asyncio.sleep(0.05)
        await apps.patch_namespaced_deployment_scale("d", namespace, {"spec": {"replicas": 1}})
        core = client.CoreV1Api(connection)
        while len((await core.list_namespaced_pod(namespace)).items) != 1:
            await asyncio.sleep(0.05)


_ASK = """
import os, ssl, urllib.error, urllib.request
here = "/var/run/secrets/kubernetes.io/serviceaccount"
server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
token = open(f"{here}/token").read()
trust = ssl.create_default_context(cafile=f"{here}/ca.crt")
for path in ("/api/v1/nodes", "/api/v1/secrets"):
    asked = urllib.request.Request(server + path, headers={"Authorization": f"Bearer {token}"})
    try:
        print(path, urllib.request.urlopen(asked, context=trust).status)
    except urllib.error.HTTPError as error:
        print(path, error.code)
"""


async def test_a_pod_reaches_the_api_as_its_own_service_account(
    connection: client.ApiClient, namespace: str, kubelet: Kubelet
) -> None:
    """It may list nodes, as a role says, and no secrets."""
    await kubelet.add_node("n1")
    rbac: Any = client.RbacAuthorizationV1Api(connection)
    name = f"nodes-{namespace}"
    rules = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
    account = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    await rbac.create_cluster_role({"metadata": {"name": name}, "rules": rules})
    await rbac.create_cluster_role_binding(
        {"metadata": {"name": name}, "subjects": [account], "roleRef": role}
    )
    made = Pods(connection, namespace)
    asking = {"name": "c", "image": "ours", "command": ["python", "-c", _ASK]}
    await made.create(
        pods.pod("asking", asking, automountServiceAccountToken=True, restartPolicy="Never")
    )
    await made.until("asking", lambda p: p.status.phase == "Succeeded")
    said = kubelet.log(namespace, "asking", "c")
    await rbac.delete_cluster_role_binding(name)
    await rbac.delete_cluster_role(name)
    assert said == "/api/v1/nodes 200\n/api/v1/secrets 403\n"


async def test_a_client_is_what_its_service_account_may_be(
    namespace: str, as_account: Callable[[str], Awaitable[Path]]
) -> None:
    kubeconfig = await as_account("default")
    async with await config.new_client_from_config(str(kubeconfig)) as connected:
        with pytest.raises(client.ApiException) as refused:
            await client.CoreV1Api(connected).list_namespaced_pod(namespace)
    assert refused.value.status == 403
    assert f"system:serviceaccount:{namespace}:default" in str(refused.value.body)


async def test_watches_are_late_and_lose_nothing_while_they_are_held(
    through_proxy: client.ApiClient, proxy: FaultProxy, kubelet: Kubelet
) -> None:
    core = client.CoreV1Api(through_proxy)
    seen = asyncio.Queue[str]()

    async def watch() -> None:
        async with Watch().stream(core.list_node, resource_version="0") as stream:
            async for event in stream:
                seen.put_nowait(event["object"].metadata.name)

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        await kubelet.add_node("before")
        watching = tasks.create_task(watch(), name="watch")
        assert await seen.get() == "before"
        proxy.flowing.clear()
        await kubelet.add_node("held")
        assert "held" in {node.metadata.name for node in (await core.list_node()).items}
        held = [seen.get_nowait() for _ in range(seen.qsize())]
        assert "held" not in held
        proxy.flowing.set()
        while await seen.get() != "held":
            pass
        watching.cancel()


async def test_kubectl_speaks_to_the_server(own_plane: ControlPlane, namespace: str) -> None:
    """A dry run on the server admits an object as if it were meant."""
    manifest = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"}}'
    command = [own_plane.kubectl, f"--kubeconfig={own_plane.kubeconfig}", f"-n{namespace}"]
    done = await asyncio.create_subprocess_exec(
        *map(str, command),
        *("apply", "--dry-run=server", "-f", "-"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await done.communicate(manifest.encode())
    assert said == b"configmap/m created (server dry run)\n"
