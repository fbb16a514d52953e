"""The committed configuration, read by Prometheus' own tool, and followed by one that runs."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from tests.support import installation, prometheus, rendering
from tests.support.rendering import Object

COMMITTED = rendering.MANIFESTS / "prometheus" / "prometheus.yaml"
META = "__meta_kubernetes_"


def looking_into(folder: Path) -> dict[str, Any]:
    """Return the configuration, but for where each job looks for pods: Debian's Prometheus is built without Kubernetes."""
    config: dict[str, Any] = yaml.safe_load(COMMITTED.read_text())
    for job in config["scrape_configs"]:
        del job["kubernetes_sd_configs"]
        job["file_sd_configs"] = [{"files": [str(folder / f"{job['job_name']}.json")]}]
    return config


def test_prometheus_reads_its_configuration(promtool, tmp_path):
    for job in ("trunkline", "trunkline-workers"):
        (tmp_path / f"{job}.json").write_text("[]")
    config = looking_into(tmp_path) | {"rule_files": []}
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    checked = [promtool, "check", "config", str(tmp_path / "prometheus.yaml")]
    done = subprocess.run(checked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def discovered(
    annotations: dict[str, str],
    *,
    ip: str,
    name: str,
    ports: tuple[int, ...],
    namespace: str = "trunkline",
) -> Iterator[Object]:
    """Yield what Prometheus finds of a pod: a target for each port, with labels of all that is known."""
    for port in ports:
        known = {"pod_phase": "Running", "pod_ip": ip, "pod_name": name, "namespace": namespace}
        known |= {
            f"pod_annotation_{key.translate(str.maketrans('./-', '___'))}": value
            for key, value in annotations.items()
        }
        yield {
            "targets": [f"{ip}:{port}"],
            "labels": {META + key: value for key, value in known.items()},
        }


async def test_a_pod_of_ours_is_scraped_once_where_it_says_and_no_other(tmp_path):
    """Nothing listens there: what counts is whom it would scrape."""
    ours = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"]
        for each in rendering.rendered("base")
        if each["kind"] == "Deployment"
    }
    pods = [
        target
        for number, (name, annotations) in enumerate(ours.items(), 1)
        for target in discovered(annotations, ip=f"127.0.0.{number}", name=name, ports=(8086, 9999))
    ]
    pods += discovered({}, ip="127.0.0.9", name="another", ports=(80,))
    (tmp_path / "trunkline.json").write_bytes(msgspec.json.encode(pods))
    job, _ = looking_into(tmp_path)["scrape_configs"]
    async with prometheus.running(tmp_path, [job]) as watching:
        found = await installation.until(watching.targets, what="targets")
    told = {each["labels"]["pod"]: each["scrapeUrl"] for each in found}
    assert len(found) == len(told)
    assert {each["labels"]["installation"] for each in found} == {"trunkline"}
    assert told == {
        name: f"http://127.0.0.{number}:8086/metrics" for number, name in enumerate(ours, 1)
    }
