"""What is rendered of the manifests: valid in each Kubernetes from 1.27 on, with images that have a version."""

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
from kubernetes_validate import utils
from tests.support import image_tags, rendering

NEWEST = utils.all_versions()[-1]
TILT = "../tilt/overlay"
NATS = "nats:2.15.1-alpine"
FOR_DEVELOPMENT = {"chrislusf/seaweedfs:4.48", "prom/prometheus:v3.5.0", "grafana/grafana:12.2.0"}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {"selector": {}, "template": {}},
}


def objects() -> Iterator[dict[str, Any]]:
    """Yield each object of all kustomizations, those that are the same in several of them once."""
    seen: list[dict[str, Any]] = []
    for kustomization in (*rendering.KUSTOMIZATIONS, TILT):
        for each in rendering.rendered(kustomization):
            if each not in seen:
                seen.append(each)
                yield each


def refusal(each: dict[str, Any], version: str) -> str:
    """Return why an object is none of that Kubernetes; nothing if it is one."""
    try:
        kubernetes_validate.validate(each, version, strict=True)
    except (utils.ValidationError, utils.SchemaNotFoundError) as error:
        return f"{rendering.name(each)}: {error.message}"
    return ""


@pytest.mark.parametrize("version", ["1.27", "1.29", "1.31", NEWEST])
def test_all_that_is_rendered_is_valid(version: str) -> None:
    assert [why for each in objects() if (why := refusal(each, version))] == []


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    assert refusal(DEPLOYMENT, "1.29") == ""
    assert "'replica' was unexpected" in refusal(
        {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replica": 2}}, "1.29"
    )
    assert "find schema" in refusal({**DEPLOYMENT, "apiVersion": "apps/v1beta1"}, "1.29")


def images(kustomization: str) -> set[str]:
    found = set()
    for each in rendering.rendered(kustomization):
        spec = each.get("spec", {}).get("template", {}).get("spec", {})
        found |= {container["image"] for container in spec.get("containers", [])}
        if each["kind"] == "ConfigMap":
            found |= {text for key, text in each["data"].items() if key.endswith("_IMAGE")}
    return found


@pytest.mark.parametrize("kustomization", rendering.KUSTOMIZATIONS)
def test_images_have_the_version_of_the_project(kustomization: str) -> None:
    services = ("coordinator", "scaler", "worker-agent")
    ours = {f"trunkline/{name}:{image_tags.version()}" for name in services}
    others = images(kustomization) - ours
    assert images(kustomization) > ours
    assert others == {NATS} | (FOR_DEVELOPMENT if kustomization == "overlays/dev" else set())
    assert all(re.fullmatch(r"[a-z/]+:v?\d+\.\d+[\w.-]*", each) for each in others)


MIB = {"Mi": 1, "Gi": 1024}


@pytest.mark.parametrize("kustomization", rendering.KUSTOMIZATIONS)
def test_a_server_collects_garbage_before_it_has_what_it_may_have(kustomization: str) -> None:
    (found,) = (each for each in rendering.rendered(kustomization) if each["kind"] == "StatefulSet")
    (container,) = found["spec"]["template"]["spec"]["containers"]
    (soft,) = (each["value"] for each in container["env"] if each["name"] == "GOMEMLIMIT")
    hard = container["resources"]["limits"]["memory"]
    share = int(soft.removesuffix("MiB")) / (int(hard[:-2]) * MIB[hard[-2:]])
    assert 0.85 < share < 0.95


def test_a_tag_is_written_wherever_an_image_has_one() -> None:
    text = "{name: trunkline/scaler, newTag: 0.1.0} A: trunkline/worker-agent:0.1.0 b: nats:2.1.0"
    assert image_tags.tagged(text, "3.2.1").split() == [
        *("{name:", "trunkline/scaler,", "newTag:", "3.2.1}"),
        *("A:", "trunkline/worker-agent:3.2.1", "b:", "nats:2.1.0"),
    ]
