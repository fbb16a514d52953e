"""The committed configuration, read by Prometheus' own tool."""

import subprocess

import yaml
from tests.support import rendering

COMMITTED = rendering.MANIFESTS / "prometheus" / "prometheus.yaml"


def test_prometheus_reads_its_configuration(promtool, tmp_path):
    """Debian's is built without Kubernetes: there it looks into a file instead."""
    config = yaml.safe_load(COMMITTED.read_text())
    for job in config["scrape_configs"]:
        job["file_sd_configs"] = (
            [{"files": ["targets.json"]}] if job.pop("kubernetes_sd_configs") else []
        )
    config["rule_files"] = []
    (tmp_path / "targets.json").write_text("[]")
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [promtool, "check", "config", "prometheus.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
