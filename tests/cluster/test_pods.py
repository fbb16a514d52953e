"""Pods on the process kubelet: what their containers see, and how they come to run."""

from typing import Any

import pytest
from tests.cluster import pods
from tests.cluster.kubelet.images import OURS, Image
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.kubelet.node import Node
from tests.cluster.plane.control_plane import ControlPlane
from tests.cluster.pods import Pods


@pytest.fixture(autouse=True)
async def node(kubelet: Kubelet) -> Node:
    """The one node that there is."""
    return await kubelet.add_node("n1")


async def test_the_init_step_comes_first_and_containers_share_a_volume(
    made: Pods, kubelet: Kubelet
) -> None:
    """A shell waits in one container for what the other writes, as agent and shim do."""
    volume: Any = {"volumeMounts": [{"name": "pfs", "mountPath": "/pfs"}]}
    read_only: Any = {"volumeMounts": [{"name": "pfs", "mountPath": "/pfs", "readOnly": True}]}
    init = pods.container("init", "echo laid > /pfs/laid", **volume)
    agent = pods.container(
        "agent", "cp /pfs/laid /pfs/.s; mv /pfs/.s /pfs/seen; sleep 1000", **volume
    )
    user = pods.container(
        "user",
        "until cat /pfs/seen; do sleep 0.01; done; touch /pfs/x || echo refused; sleep 1000",
        **read_only,
    )
    await made.create(
        pods.pod(
            "worker",
            agent,
            user,
            initContainers=[init],
            volumes=[{"name": "pfs", "emptyDir": {}}],
        )
    )
    found = await made.until("worker", pods.running)
    assert found.status.phase == "Running"
    assert found.spec.node_name == "n1"
    assert found.status.pod_ip
    assert pods.status(found, "init").state.terminated.reason == "Completed"
    assert {c.type: c.status for c in found.status.conditions} == {
        "PodScheduled": "True", "Initialized": "True", "Ready": "True", "ContainersReady": "True",
    }  # fmt: skip
    log = await pods.said(kubelet, (made.namespace, "worker", "user"), "refused")
    assert "laid" in log


async def test_a_container_is_alone_under_the_user_id_that_it_asks_for(
    made: Pods, kubelet: Kubelet
) -> None:
    script = """
    echo uid $(id -u) gid $(id -g) groups $(id -G) pid $$$$  # which is $$, by the rules of a pod's command
    echo processes $(ls /proc | grep -c '^[0-9]')
    ls -d /root /home /work /var 2>/dev/null || echo no such place
    stat -c 'pfs %a %g' /pfs
    grep -E 'CapEff|NoNewPrivs' /proc/self/status
    sleep 1000
    """
    context = {
        "runAsUser": 20002,
        "runAsGroup": 20002,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = [{"name": "pfs", "mountPath": "/pfs"}]
    await made.create(
        pods.pod(
            "alone",
            pods.container("user", script, securityContext=context, volumeMounts=mounts),
            pods.container("other", "sleep 1000"),
            securityContext={"fsGroup": 3000},
            volumes=[{"name": "pfs", "emptyDir": {}}],
        )
    )
    await made.until("alone", pods.running)
    log = await pods.said(kubelet, (made.namespace, "alone", "user"), "NoNewPrivs")
    assert "uid 20002 gid 20002 groups 20002 3000 pid 1\n" in log
    assert "no such place" in log
    assert "pfs 2777 3000" in log
    assert "CapEff:\t0000000000000000" in log
    assert "NoNewPrivs:\t1" in log
    processes = next(line.split()[1] for line in log.splitlines() if "processes" in line)
    assert int(processes) <= 4  # its own shell, and what that has started to count them


async def test_the_environment_is_the_pods_and_nothing_else(
    made: Pods, kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_HOST", "unseen")
    await made.core.create_namespaced_secret(
        made.namespace, {"metadata": {"name": "creds"}, "stringData": {"token": "s3cret"}}
    )
    await made.core.create_namespaced_config_map(
        made.namespace, {"metadata": {"name": "settings"}, "data": {"LEVEL": "info"}}
    )
    env = [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "creds", "key": "token"}}},
        {"name": "GREETING", "value": "$(POD) on $(NODE), $$(POD), $(NOBODY)"},
    ]
    more: Any = {"env": env, "envFrom": [{"configMapRef": {"name": "settings"}}]}
    secret: Any = {"volumeMounts": [{"name": "creds", "mountPath": "/creds"}]}
    await made.create(
        pods.pod(
            "spoken",
            pods.container(
                "c", "cat /creds/token; echo; env; echo end; sleep 1000", **more, **secret
            ),
            volumes=[{"name": "creds", "secret": {"secretName": "creds"}}],
        )
    )
    found = await made.until("spoken", pods.running)
    log = await pods.said(kubelet, (made.namespace, "spoken", "c"), "end\n")
    assert log.startswith("s3cret\n")
    lines = set(log.splitlines())
    assert {
        "POD=spoken",
        "NODE=n1",
        f"IP={found.status.pod_ip}",
        "TOKEN=s3cret",
        "LEVEL=info",
    } <= lines
    assert "GREETING=spoken on n1, $(POD), $(NOBODY)" in lines
    assert "OF_THE_HOST" not in log


async def test_a_container_waits_for_a_secret_that_comes_later(made: Pods) -> None:
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "late", "key": "token"}}}]
    await made.create(pods.pod("early", pods.container("c", "sleep 1000", env=env)))
    await made.until("early", lambda p: pods.waits_for(p, "c") == "CreateContainerConfigError")
    await made.core.create_namespaced_secret(
        made.namespace, {"metadata": {"name": "late"}, "stringData": {"token": "x"}}
    )
    await made.until("early", pods.running)


async def test_a_secret_in_a_volume_is_brought_up_to_date(made: Pods, kubelet: Kubelet) -> None:
    await made.core.create_namespaced_secret(
        made.namespace, {"metadata": {"name": "creds"}, "stringData": {"token": "old"}}
    )
    script = "until grep new /creds/token; do sleep 0.02; done; echo seen; sleep 1000"
    mounts = [{"name": "creds", "mountPath": "/creds", "readOnly": True}]
    volume = {"name": "creds", "secret": {"secretName": "creds"}}
    await made.create(
        pods.pod("reader", pods.container("c", script, volumeMounts=mounts), volumes=[volume])
    )
    await made.until("reader", pods.running)
    await made.core.patch_namespaced_secret(
        "creds", made.namespace, {"stringData": {"token": "new"}}
    )
    await pods.said(kubelet, (made.namespace, "reader", "c"), "seen")


async def test_an_image_that_is_not_in_the_table_is_backed_off_from_until_it_is(
    made: Pods, kubelet: Kubelet
) -> None:
    await made.create(
        pods.pod("pulled", pods.container("c", "sleep 1000", image="r.example/later:1"))
    )
    await made.until("pulled", lambda p: pods.waits_for(p, "c") == "ErrImagePull")
    found = await made.until("pulled", lambda p: pods.waits_for(p, "c") == "ImagePullBackOff")
    assert found.status.phase == "Pending"
    kubelet.images["r.example/later:1"] = kubelet.images["debian"]
    await made.until("pulled", pods.running)


async def test_the_first_restart_comes_at_once_and_the_second_after_a_back_off(made: Pods) -> None:
    await made.create(pods.pod("failing", pods.container("c", "exit 3")))
    found = await made.until("failing", lambda p: pods.waits_for(p, "c") == "CrashLoopBackOff")
    status = pods.status(found, "c")
    assert status.restart_count == 1
    assert status.last_state.terminated.exit_code == 3
    assert status.last_state.terminated.reason == "Error"
    assert "back-off 10s" in status.state.waiting.message
    assert found.status.phase == "Running"
    await made.until("failing", lambda p: pods.status(p, "c").restart_count >= 3)


async def test_a_command_that_is_not_there_is_named(made: Pods) -> None:
    absent = {"name": "c", "image": "debian", "command": ["/no/such/thing"]}
    await made.create(pods.pod("absent", absent))
    found = await made.until("absent", lambda p: pods.waits_for(p, "c") == "RunContainerError")
    assert "/no/such/thing" in pods.status(found, "c").state.waiting.message


async def test_a_pod_that_is_to_run_once_ends(made: Pods) -> None:
    await made.create(
        pods.pod("good", pods.container("c", "exit 0"), restartPolicy="Never"),
        pods.pod("bad", pods.container("c", "exit 4"), restartPolicy="Never"),
    )
    good = await made.until("good", lambda p: p.status.phase == "Succeeded")
    assert pods.status(good, "c").state.terminated.reason == "Completed"
    bad = await made.until("bad", lambda p: p.status.phase == "Failed")
    assert pods.status(bad, "c").state.terminated.exit_code == 4


async def test_an_image_may_have_nothing_in_it(
    made: Pods, kubelet: Kubelet, own_plane: ControlPlane
) -> None:
    """A static program comes by a volume, as the shim does; nothing else is there."""
    kubelet.images["scratch"] = Image(directories=())
    programs = {"name": "programs", "hostPath": {"path": str(own_plane.kubectl.parent)}}
    static = {
        "name": "c",
        "image": "scratch",
        "command": ["/trunk/kubectl", "version", "--client", "--short"],
        "volumeMounts": [{"name": "programs", "mountPath": "/trunk", "readOnly": True}],
    }
    await made.create(pods.pod("empty", static, volumes=[programs], restartPolicy="Never"))
    await made.until("empty", lambda p: p.status.phase == "Succeeded")
    assert "Client Version: v1." in kubelet.log(made.namespace, "empty", "c")


async def test_root_is_refused_where_the_pod_says_so(made: Pods) -> None:
    context = {"runAsNonRoot": True}
    await made.create(pods.pod("root", pods.container("c", "sleep 1000", securityContext=context)))
    found = await made.until(
        "root", lambda p: pods.waits_for(p, "c") == "CreateContainerConfigError"
    )
    assert "will run as root" in pods.status(found, "c").state.waiting.message


_LISTEN = """
import os, socket, struct
os.umask(0)
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/trunk/agent.sock")
listener.listen()
peer, _ = listener.accept()
pid, uid, gid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
print("peer", pid, uid, gid, flush=True)
listener.accept()
"""
_CONNECT = """
import contextlib, os, socket, time
peer = socket.socket(socket.AF_UNIX)
while True:
    with contextlib.suppress(OSError):
        peer.connect("/run/trunk/agent.sock")
        break
    time.sleep(0.01)
try:
    os.unlink("/run/trunk/agent.sock")
except OSError as error:
    print("unlink", error.errno, flush=True)
time.sleep(1000)
"""


async def test_two_users_meet_at_a_socket_and_only_one_may_remove_it(
    made: Pods, kubelet: Kubelet
) -> None:
    """As agent and shim do. The peer's process is in another namespace: its id says nothing."""

    def member(name: str, script: str, uid: int, *, read_only: bool) -> dict[str, Any]:
        return {
            "name": name,
            "image": "ours",
            "command": ["python", "-c", script],
            "securityContext": {"runAsUser": uid, "runAsGroup": uid},
            "volumeMounts": [{"name": "run", "mountPath": "/run/trunk", "readOnly": read_only}],
        }

    await made.create(
        pods.pod(
            "meeting",
            member("agent", _LISTEN, 10001, read_only=False),
            member("user", _CONNECT, 20002, read_only=True),
            securityContext={"fsGroup": 3000},
            volumes=[{"name": "run", "emptyDir": {"medium": "Memory"}}],
            grace_s=1,
        )
    )
    await made.until("meeting", pods.running)
    await pods.said(kubelet, (made.namespace, "meeting", "user"), "unlink 30\n")  # EROFS
    await pods.said(kubelet, (made.namespace, "meeting", "agent"), "peer 0 20002 20002\n")


async def test_this_project_runs_in_a_pod_as_a_user_who_is_not_root(
    made: Pods, kubelet: Kubelet
) -> None:
    kubelet.images["trunkline/worker-agent:test"] = OURS
    command = ["python", "-c", "import trunkline.bus.jetstream, os; print('uid', os.getuid())"]
    ours = {
        "name": "c",
        "image": "trunkline/worker-agent:test",
        "command": command,
        "securityContext": {"runAsUser": 10001, "readOnlyRootFilesystem": True},
    }
    await made.create(pods.pod("ours", ours, restartPolicy="Never"))
    await made.until("ours", lambda p: p.status.phase == "Succeeded")
    assert "uid 10001" in kubelet.log(made.namespace, "ours", "c")
