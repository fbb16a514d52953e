"""The Prometheus and the Grafana that an overlay may add: they fit each other, and see no more than they need."""

import fnmatch
import json
import re

import kubernetes_validate
import pytest
import yaml
from tests.support import dashboards, rendering
from tests.support.rendering import Object

from trunkline.runtime import exposition, metric_names
from trunkline.runtime.metrics import WORKER, Kind, Metric
from trunkline.scaler.kubernetes import pods

PARTS = ("prometheus", "grafana")
REMEMBERED = 200_000
"""Bytes of an object, as `kubectl apply` writes it into an annotation, which may have 262,144."""


def found(part: str, kind: str) -> list[Object]:
    return [each for each in rendering.rendered(part) if each["kind"] == kind]


def pod(part: str) -> Object:
    (deployment,) = found(part, "Deployment")
    spec: Object = deployment["spec"]["template"]["spec"]
    return spec


def provisioning(name: str) -> Object:
    path = rendering.MANIFESTS / "grafana" / "provisioning" / name
    read: Object = yaml.safe_load(path.read_text())
    return read


@pytest.mark.parametrize("part", PARTS)
def test_all_of_a_part_is_valid_and_small_enough_to_be_applied(part):
    for each in rendering.rendered(part):
        kubernetes_validate.validate(each, "1.29", strict=True)
        assert len(json.dumps(json.dumps(each))) < REMEMBERED, rendering.name(each)


@pytest.mark.parametrize("part", PARTS)
def test_a_pod_is_restricted_has_a_version_and_limits(part):
    spec = pod(part)
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["image"].rpartition(":")[2].lstrip("v")[0].isdigit()
    assert container["resources"]["limits"]["memory"]
    assert container["readinessProbe"]


@pytest.mark.parametrize("part", PARTS)
def test_what_a_pod_mounts_is_there(part):
    maps = {each["metadata"]["name"]: set(each["data"]) for each in found(part, "ConfigMap")}
    for volume in pod(part)["volumes"]:
        sources = volume.get("projected", {}).get("sources", [volume])
        for source in (each["configMap"] for each in sources if "configMap" in each):
            assert {each["key"] for each in source.get("items", [])} <= maps[source["name"]]


def test_prometheus_is_given_the_alerts_where_it_looks():
    config = yaml.safe_load((rendering.MANIFESTS / "prometheus" / "prometheus.yaml").read_text())
    (container,) = pod("prometheus")["containers"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    given = {
        f"{mounts[volume['name']]}/{item['path']}"
        for volume in pod("prometheus")["volumes"]
        for item in volume.get("configMap", {}).get("items", [])
    }
    (pattern,) = config["rule_files"]
    assert [path for path in given if fnmatch.fnmatch(path, pattern)] == [
        f"{mounts['configuration']}/rules/alerts.yaml"
    ]
    assert f"--config.file={mounts['configuration']}/prometheus.yaml" in container["args"]


def test_grafana_is_given_every_dashboard_where_it_looks():
    given = {name for each in found("grafana", "ConfigMap") for name in each["data"]}
    assert {f"{uid}.json" for uid in dashboards.read()} <= given
    (provider,) = provisioning("dashboards.yaml")["providers"]
    (container,) = pod("grafana")["containers"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert provider["options"]["path"] == mounts["dashboards"]
    assert provider["folder"] == "Trunkline"
    (home,) = (
        each["value"] for each in container["env"] if each["name"].endswith("HOME_DASHBOARD_PATH")
    )
    assert home == f"{mounts['dashboards']}/trunkline-overview.json"


def test_grafana_looks_for_the_prometheus_that_is_there_and_may_reach_it():
    (source,) = provisioning("datasource.yaml")["datasources"]
    (service,) = found("prometheus", "Service")
    (port,) = service["spec"]["ports"]
    assert source["url"] == f"http://{service['metadata']['name']}:{port['port']}"
    (policy,) = found("prometheus", "NetworkPolicy")
    (rule,) = policy["spec"]["ingress"]
    (deployment,) = found("grafana", "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert rule["from"][0]["podSelector"]["matchLabels"].items() <= labels.items()


def test_grafana_is_asked_as_often_as_prometheus_scrapes():
    config = yaml.safe_load((rendering.MANIFESTS / "prometheus" / "prometheus.yaml").read_text())
    (source,) = provisioning("datasource.yaml")["datasources"]
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]


def scrapes() -> dict[str, Object]:
    """Return Prometheus' jobs by name."""
    config = yaml.safe_load((rendering.MANIFESTS / "prometheus" / "prometheus.yaml").read_text())
    return {each["job_name"]: each for each in config["scrape_configs"]}


def test_prometheus_sees_pods_where_it_looks_for_them_and_nothing_else():
    looks = {
        job: found["namespaces"]["names"]
        for job, each in scrapes().items()
        for found in each["kubernetes_sd_configs"]
    }
    assert looks == {"trunkline": ["trunkline"], "trunkline-workers": ["trunkline-workers"]}
    roles = found("prometheus", "Role")
    assert {each["metadata"]["namespace"] for each in roles} == {"trunkline", "trunkline-workers"}
    for role in roles:
        assert role["rules"] == [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
        ]
    assert not found("prometheus", "ClusterRole")


def kept() -> tuple[str, str]:
    """Return which names, and which labels, are kept of a worker's page."""
    names, labels, _ = scrapes()["trunkline-workers"]["metric_relabel_configs"]
    assert (names["action"], labels["action"]) == ("keep", "labelkeep")
    return names["regex"], labels["regex"]


def shown_by(metric: Metric) -> set[str]:
    """Return the names of a metric's series."""
    parts = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
    return {metric.name + part for part in parts}


def test_of_a_workers_page_all_is_kept_that_an_agent_says_and_nothing_else():
    names, labels = kept()
    for metric in metric_names.ALL:
        for name in shown_by(metric):
            kept_here = bool(re.fullmatch(names, name))
            assert kept_here == (WORKER in metric.components), name
        if WORKER in metric.components:
            assert all(re.fullmatch(labels, each) for each in metric.labels)
    page = exposition.rendered([], "text/plain")[0].decode()
    process = set(re.findall(r"^(process_\w+) ", page, re.MULTILINE))
    assert len(process) >= 4
    assert all(re.fullmatch(names, each) for each in process)


def test_a_pods_pipeline_is_read_from_what_the_scaler_writes_on_it():
    sources = {
        each["target_label"]: each["source_labels"]
        for each in scrapes()["trunkline-workers"]["relabel_configs"]
        if "target_label" in each
    }
    mangled = re.sub(r"[^a-zA-Z0-9_]", "_", pods.PIPELINE)
    assert sources["pipeline"] == [f"__meta_kubernetes_pod_annotation_{mangled}"]


def spelt(key: str) -> str:
    """Return a field's name as the operator has it."""
    return re.sub(r"_(\w)", lambda found: found[1].upper(), key)


def camel(of: object) -> object:
    """Return what a configuration says in the operator's spelling."""
    if isinstance(of, dict):
        return {spelt(key): camel(value) for key, value in of.items()}
    return [camel(each) for each in of] if isinstance(of, list) else of


def test_the_operator_is_told_what_prometheus_is():
    path = rendering.MANIFESTS / "prometheus" / "podmonitors.yaml"
    for monitor in yaml.safe_load_all(path.read_text()):
        name, spec = monitor["metadata"]["name"], monitor["spec"]
        job = scrapes()[name]
        (endpoint,) = spec["podMetricsEndpoints"]
        assert [spec["namespaceSelector"]["matchNames"]] == [
            each["namespaces"]["names"] for each in job["kubernetes_sd_configs"]
        ]
        told = {**spec, **endpoint}
        told["metricRelabelConfigs"] = told.pop("metricRelabelings", None)
        for key, value in job.items():
            if key not in ("job_name", "kubernetes_sd_configs", "relabel_configs"):
                assert told[spelt(key)] == camel(value), (name, key)
        assert {"targetLabel": "job", "replacement": name} in endpoint["relabelings"]
        for label in (
            ("installation", "pipeline") if name.endswith("workers") else ("installation",)
        ):
            (rule,) = (each for each in job["relabel_configs"] if each.get("target_label") == label)
            assert camel(rule) in endpoint["relabelings"]


def test_nobody_logs_in_to_a_grafana_whose_first_password_everybody_knows():
    (container,) = pod("grafana")["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    assert given["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert given["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert given["GF_AUTH_BASIC_ENABLED"] == "false"
