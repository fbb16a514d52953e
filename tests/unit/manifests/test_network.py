"""Whom a worker's pod reaches, by the policies as they are rendered: user code runs there."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

import pytest
import yaml
from tests.support import rendering

WORKERS = "trunkline-workers"
SERVICES = {"trunkline.io/zone": "services", "app.kubernetes.io/part-of": "trunkline"}
OVERLAYS = ("base", "overlays/prod", "overlays/dev")
PAGE = rendering.MANIFESTS.parent / "docs" / "kubernetes.md"


class Peer(NamedTuple):
    """One whom a packet is for: a pod has labels and an address, another host an address only."""

    address: str
    labels: Mapping[str, str] = {}
    namespace: Mapping[str, str] = {}


NATS = Peer("10.1.0.7", {"app.kubernetes.io/name": "trunkline-nats"}, SERVICES)
S3 = Peer("10.1.0.8", {"app.kubernetes.io/name": "trunkline-s3"}, SERVICES)
SYSTEM = {"kubernetes.io/metadata.name": "kube-system"}
DNS = Peer("10.1.0.2", {"k8s-app": "kube-dns"}, SYSTEM)
COORDINATOR = Peer("10.1.0.9", {"app.kubernetes.io/name": "trunkline-coordinator"}, SERVICES)


def reaches(policies: list[Mapping[str, Any]], peer: Peer, port: int, protocol: str) -> bool:
    """Return whether a pod that all these policies choose may send that."""
    rules = [rule for each in policies for rule in each["spec"].get("egress", [])]
    return any(
        any((each["port"], each["protocol"]) == (port, protocol) for each in rule["ports"])
        and ("to" not in rule or any(_is_for(each, peer) for each in rule["to"]))
        for rule in rules
    )


def _is_for(to: Mapping[str, Any], peer: Peer) -> bool:
    if "ipBlock" in to:
        address, block = ip_address(peer.address), to["ipBlock"]
        left_out = any(address in ip_network(each) for each in block.get("except", []))
        return address in ip_network(block["cidr"]) and not left_out
    return bool(
        to["namespaceSelector"]["matchLabels"].items() <= peer.namespace.items()
        and to["podSelector"]["matchLabels"].items() <= peer.labels.items()
    )


def of_workers(kustomization: str) -> list[Mapping[str, Any]]:
    """Return the policies for what workers' pods send."""
    found = [
        each
        for each in rendering.rendered(kustomization)
        if each["kind"] == "NetworkPolicy" and each["metadata"]["namespace"] == WORKERS
    ]
    assert all(each["spec"]["podSelector"] == {} for each in found)
    return [each for each in found if "Egress" in each["spec"]["policyTypes"]]


@pytest.mark.parametrize("kustomization", OVERLAYS)
def test_workers_reach_nats_names_and_a_store_in_the_internet(kustomization: str) -> None:
    policies = of_workers(kustomization)
    assert reaches(policies, NATS, 4222, "TCP")
    for server in (DNS, Peer("169.254.20.10")):
        assert reaches(policies, server, 53, "UDP")
        assert reaches(policies, server, 53, "TCP")
    assert reaches(policies, Peer("52.216.1.1"), 443, "TCP")
    assert reaches(policies, Peer("172.32.0.1"), 443, "TCP")
    assert reaches(policies, Peer("2600:1fa0::1"), 443, "TCP")


@pytest.mark.parametrize("kustomization", OVERLAYS)
@pytest.mark.parametrize(
    "address",
    [
        "10.96.0.1",  # the API server, as a Service mostly
        "172.20.0.1",
        "192.168.7.4",  # a node
        "100.64.3.3",  # pods of some clouds
        "169.254.169.254",  # a cloud's metadata
        "fd00:ec2::254",
        "fe80::1",
        "64:ff9b::a60:1",  # the first one, by NAT64
    ],
)
def test_workers_reach_nothing_in_private_networks(kustomization: str, address: str) -> None:
    for port in (80, 443, 6443, 8333, 9000):
        assert not reaches(of_workers(kustomization), Peer(address), port, "TCP")


@pytest.mark.parametrize("kustomization", OVERLAYS)
@pytest.mark.parametrize(
    "server",
    [
        Peer("8.8.8.8"),
        Peer("2001:4860:4860::8888"),
        Peer("192.168.7.4"),
        DNS._replace(namespace={"kubernetes.io/metadata.name": "somebody"}),
        DNS._replace(labels={"k8s-app": "metrics-server"}),
    ],
)
def test_workers_ask_no_dns_but_the_clusters(kustomization: str, server: Peer) -> None:
    policies = of_workers(kustomization)
    assert not reaches(policies, server, 53, "UDP")
    assert not reaches(policies, server, 53, "TCP")


@pytest.mark.parametrize("kustomization", OVERLAYS)
def test_workers_reach_no_other_service_of_the_installation(kustomization: str) -> None:
    policies = of_workers(kustomization)
    assert not reaches(policies, COORDINATOR, 8086, "TCP")
    assert not reaches(policies, NATS, 6222, "TCP")
    assert not reaches(policies, NATS, 8222, "TCP")


def test_workers_reach_the_store_of_the_overlay_that_has_one() -> None:
    assert reaches(of_workers("overlays/dev"), S3, 8333, "TCP")
    assert not reaches(of_workers("overlays/dev"), S3, 443, "TCP")
    assert not reaches(of_workers("overlays/prod"), S3, 8333, "TCP")


def of_the_page(section: str) -> Mapping[str, Any]:
    """Return the policy that this section of the page gives."""
    text = PAGE.read_text().partition(f"## {section}\n")[2]
    lines = text.partition("    apiVersion: networking")[2].partition("\n\n")[0].splitlines()
    policy = yaml.safe_load(
        "\n".join(["apiVersion: networking" + lines[0]] + [each[4:] for each in lines[1:]])
    )
    assert policy["metadata"]["namespace"] == WORKERS
    return dict(policy)


def test_the_policy_that_the_page_gives_lets_a_private_store_in() -> None:
    policy = of_the_page("A store in the cluster or a private network")
    both = [*of_workers("overlays/prod"), policy]
    assert reaches(both, Peer("192.168.7.20"), 9000, "TCP")
    assert not reaches(both, Peer("192.168.7.21"), 9000, "TCP")
    assert not reaches(both, Peer("192.168.7.20"), 443, "TCP")


def test_the_policy_that_the_page_gives_lets_another_dns_in() -> None:
    both = [*of_workers("overlays/prod"), of_the_page("A DNS of another kind")]
    assert reaches(both, Peer("10.96.0.10"), 53, "UDP")
    assert reaches(both, Peer("10.96.0.10"), 53, "TCP")
    assert not reaches(both, Peer("10.96.0.11"), 53, "UDP")
