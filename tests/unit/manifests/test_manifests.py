"""Manifests say nothing that the code does not know, and all that it needs."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import yaml

from trunkline.coordinator.settings import Settings as CoordinatorSettings
from trunkline.runtime import settings
from trunkline.scaler.kubernetes import object_names, secret_shelf
from trunkline.scaler.kubernetes.installed import IssuerSettings
from trunkline.scaler.kubernetes.pod_settings import PodSettings
from trunkline.scaler.settings import Settings as ScalerSettings

ROOT = Path(__file__).parents[3]
KINDS = {
    "coordinator": (CoordinatorSettings,),
    "scaler": (ScalerSettings, PodSettings, IssuerSettings),
}


def objects() -> Iterator[dict[str, Any]]:
    for path in sorted((ROOT / "manifests").glob("**/*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


def the(kind: str, name: str) -> dict[str, Any]:
    """Return the base's object."""
    return next(
        each for each in objects() if (each["kind"], each["metadata"]["name"]) == (kind, name)
    )


def container(service: str) -> dict[str, Any]:
    paths = ROOT / "manifests" / "base" / f"{service}.yaml"
    spec = yaml.safe_load(paths.read_text())["spec"]["template"]["spec"]
    (found,) = spec["containers"]
    return dict(found)


def environ(service: str) -> dict[str, str]:
    """Return what a service's container is told."""
    told: dict[str, str] = {}
    for source in container(service)["envFrom"]:
        if "configMapRef" in source:
            told |= the("ConfigMap", source["configMapRef"]["name"])["data"]
    for each in container(service)["env"]:
        told[each["name"]] = each.get("value", "a secret")
    return told


@pytest.mark.parametrize("service", sorted(KINDS))
def test_a_service_takes_all_that_it_is_told(service: str) -> None:
    told, known = environ(service), set()
    for kind in KINDS[service]:
        settings.load(kind, told)
        known |= {settings.PREFIX + each.name.upper() for each in msgspec.structs.fields(kind)}
    assert set(told) - known == set()


@pytest.mark.parametrize("service", sorted(KINDS))
def test_a_service_is_given_the_credentials_that_it_is_told_of(service: str) -> None:
    kept = secret_shelf.PARTS[f"trunkline-{service}"]
    (mounted,) = (each for each in container(service)["volumeMounts"] if each["name"] == "keys")
    urls = [text for text in environ(service).values() if "?creds=" in text]
    assert len(urls) >= 2
    for url in urls:
        path = Path(parse_qs(urlsplit(url).query)["creds"][0])
        assert str(path.parent) == mounted["mountPath"]
        assert path.name in kept
    sources = [each["valueFrom"] for each in container(service)["env"] if "valueFrom" in each]
    (key,) = (each for each in sources if "secretKeyRef" in each)
    assert key["secretKeyRef"]["name"] == f"trunkline-{service}"
    assert key["secretKeyRef"]["key"] in kept


@pytest.mark.parametrize("service", sorted(KINDS))
def test_probes_ask_where_the_service_answers(service: str) -> None:
    found = container(service)
    (port,) = found["ports"]
    assert str(port["containerPort"]) == environ(service)["TRUNKLINE_PROBE_PORT"]
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert found[probe]["httpGet"] == {"path": path, "port": port["name"]}


def test_both_services_know_the_same_key_and_store() -> None:
    assert environ("coordinator")["TRUNKLINE_STORE"] == environ("scaler")["TRUNKLINE_STORE"]


def test_images_are_those_of_services() -> None:
    images = {
        each["image"].split(":")[0]
        for found in objects()
        for each in found.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
        if "image" in each
    } | {environ("scaler")["TRUNKLINE_AGENT_IMAGE"].split(":")[0]}
    services = {f"trunkline/{path.name}" for path in (ROOT / "services").iterdir()}
    assert images - services == {
        "nats",
        "chrislusf/seaweedfs",
        "prom/prometheus",
        "grafana/grafana",
    }


def test_a_job_runs_a_module_that_is_there() -> None:
    (found,) = the("Job", "trunkline-bootstrap")["spec"]["template"]["spec"]["containers"]
    assert importlib.util.find_spec(found["command"][-1]) is not None


def test_bootstrap_may_replace_what_it_writes_and_nothing_else() -> None:
    rules = the("Role", "trunkline-bootstrap")["rules"]
    (named,) = (rule["resourceNames"] for rule in rules if "resourceNames" in rule)
    assert set(named) == {secret_shelf.ROOT, *secret_shelf.PARTS}


def test_no_pipelines_secret_has_the_name_of_a_services() -> None:
    names = {secret_shelf.ROOT, *secret_shelf.PARTS}
    pipelines = ("root", "nats", "coordinator", "scaler", "user")
    assert names.isdisjoint(map(object_names.credentials_name, pipelines))


def test_all_containers_pass_the_restricted_standard() -> None:
    for path in sorted((ROOT / "manifests" / "base").glob("*.yaml")):
        for found in yaml.safe_load_all(path.read_text()):
            spec = found.get("spec", {}).get("template", {}).get("spec")
            if spec is None:
                continue
            assert spec["securityContext"]["runAsNonRoot"]
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            for each in spec["containers"]:
                assert each["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
