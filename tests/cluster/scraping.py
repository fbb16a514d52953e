"""Pods found and reached as the Prometheus of `manifests/prometheus` finds and reaches them, of which only its configuration runs here.

The API is asked in the name of its account, so that its roles are tried; its rules for targets are followed as they stand, and the
policies of both namespaces are judged, which a process kubelet does not keep.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.support.rendering import MANIFESTS

Kubectl = Callable[..., str]
Labels = dict[str, str]

ACCOUNT = "system:serviceaccount:trunkline:trunkline-prometheus"
PROMETHEUS = {"app.kubernetes.io/name": "trunkline-prometheus"}
_META = "__meta_kubernetes_"


class Target(NamedTuple):
    """One that is scraped, and whose it is."""

    namespace: str
    pod: str
    labels: Labels
    """Of the pod."""
    port: int
    url: str


def targets(kubectl: Kubectl) -> list[Target]:
    """Return whom it would scrape, each once."""
    config = yaml.safe_load((MANIFESTS / "prometheus" / "prometheus.yaml").read_text())
    found = {}
    for job in config["scrape_configs"]:
        (looks,) = job["kubernetes_sd_configs"]
        assert looks["role"] == "pod"
        for namespace in looks["namespaces"]["names"]:
            for target in _of_namespace(kubectl, namespace, job["relabel_configs"]):
                found[target.url] = target
    return list(found.values())


def _of_namespace(
    kubectl: Kubectl, namespace: str, rules: list[dict[str, Any]]
) -> Iterator[Target]:
    for pod in _listed(kubectl, namespace, "pods", "--as", ACCOUNT):
        for known in _discovered(pod):
            told = _relabelled(known, rules)
            if told is not None:
                url = f"http://{told['__address__']}{told['__metrics_path__']}"
                port = int(told["__address__"].rpartition(":")[2])
                name, own = pod["metadata"]["name"], pod["metadata"].get("labels", {})
                yield Target(namespace, name, own, port, url)


def kept_out(kubectl: Kubectl, found: list[Target]) -> list[str]:
    """Return whom a policy of its namespace keeps Prometheus off."""
    namespaces = {
        each["metadata"]["name"]: each["metadata"].get("labels", {})
        for each in json.loads(kubectl("get", "namespaces", "-o", "json"))["items"]
    }
    refused = []
    for namespace, pods in itertools.groupby(found, key=lambda each: each.namespace):
        policies = _listed(kubectl, namespace, "networkpolicies")
        for each in pods:
            chosen = [
                policy["spec"]
                for policy in policies
                if "Ingress" in policy["spec"]["policyTypes"]
                and _selects(policy["spec"]["podSelector"], each.labels)
            ]
            rules = [rule for spec in chosen for rule in spec.get("ingress", [])]
            if chosen and not any(
                _lets_in(rule, each.port, namespaces["trunkline"]) for rule in rules
            ):
                refused.append(each.pod)
    return refused


async def page(url: str) -> str:
    """Return what is answered there."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200, url
        return await response.text()


def labels(text: str, metric: str, label: str) -> list[str]:
    """Return the values that a label of a metric of ours has on a page."""
    return [of[label] for of, _ in _samples(text, metric)]


def value(text: str, metric: str, **wanted: str) -> float:
    """Return the sum over all series of a metric of ours that have these labels."""
    return sum(each for of, each in _samples(text, metric) if wanted.items() <= of.items())


def _samples(text: str, metric: str) -> Iterator[tuple[Labels, float]]:
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            if each.name == f"trunkline_{metric}":
                yield each.labels, each.value


def _listed(kubectl: Kubectl, namespace: str, kind: str, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        kubectl("-n", namespace, "get", kind, *words, "-o", "json")
    )["items"]
    return found


def _discovered(pod: Mapping[str, Any]) -> Iterator[Labels]:
    """Yield what is known of a pod: a target for each port that it declares, or one without."""
    meta, status = pod["metadata"], pod["status"]
    known = {
        "pod_name": meta["name"],
        "namespace": meta["namespace"],
        "pod_phase": status["phase"],
        "pod_ip": status.get("podIP", ""),
    }
    for key, text in meta.get("annotations", {}).items():
        known["pod_annotation_" + re.sub(r"[^a-zA-Z0-9_]", "_", key)] = text
    base = {_META + key: text for key, text in known.items()} | {"__metrics_path__": "/metrics"}
    ports = [
        each["containerPort"]
        for container in pod["spec"]["containers"]
        for each in container.get("ports", [])
    ]
    for address in [f"{known['pod_ip']}:{port}" for port in ports] or [known["pod_ip"]]:
        yield base | {"__address__": address}


def _relabelled(known: Labels, rules: list[dict[str, Any]]) -> Labels | None:
    """Return a target's labels by the rules; None if it is dropped."""
    told = dict(known)
    for rule in rules:
        source = ";".join(told.get(name, "") for name in rule["source_labels"])
        matched = re.fullmatch(rule.get("regex", "(.*)"), source)
        match rule.get("action", "replace"):
            case "keep":
                if not matched:
                    return None
            case "replace":
                if matched:
                    text = re.sub(r"\$(\d)", r"\\\1", rule.get("replacement", "$1"))
                    told[rule["target_label"]] = matched.expand(text)
            case other:
                raise NotImplementedError(other)
    return told


def _lets_in(rule: Mapping[str, Any], port: int, home: Labels) -> bool:
    """Return whether a rule lets in the pod that Prometheus is, from a namespace with these labels."""
    if rule.get("ports") and port not in [each["port"] for each in rule["ports"]]:
        return False
    return not rule.get("from") or any(
        "podSelector" in each
        and _selects(each["podSelector"], PROMETHEUS)
        and _selects(each.get("namespaceSelector", {}), home)
        for each in rule["from"]
    )


def _selects(selector: Mapping[str, Any], of: Labels) -> bool:
    if not selector.get("matchLabels", {}).items() <= of.items():
        return False
    return all(
        each["operator"] == "In" and of.get(each["key"]) in each["values"]
        for each in selector.get("matchExpressions", [])
    )
