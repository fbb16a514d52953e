"""What panels show of several installations, and of several pipelines, by promtool: no lack is hidden behind a surplus."""

import subprocess
from pathlib import Path

import pytest
import yaml
from tests.support import dashboards

pytestmark = pytest.mark.metrics

WANT, READY, NODES = "trunkline_workers_want", "trunkline_workers_ready", "trunkline_nodes"
DEV, PROD = 'installation="dev"', 'installation="prod"'
SERIES = {
    f'{WANT}{{{DEV}, pipeline="edges"}}': "5x10",
    f'{READY}{{{DEV}, pipeline="edges"}}': "2x10",
    f'{WANT}{{{DEV}, pipeline="words"}}': "1x10",
    f'{READY}{{{DEV}, pipeline="words"}}': "4x10",
    f'{WANT}{{{PROD}, pipeline="edges"}}': "1x10",
    f'{READY}{{{PROD}, pipeline="edges"}}': "9x10",
    f'trunkline_workers_have{{{DEV}, pipeline="edges"}}': "3x10",
    f'trunkline_workers_have{{{DEV}, pipeline="words"}}': "4x10",
    f'trunkline_workers_have{{{PROD}, pipeline="edges"}}': "9x10",
    f"{NODES}{{{DEV}}}": "10x10",
    f"{NODES}{{{PROD}}}": "10x10",
    f'trunkline_leader{{{DEV}, component="scaler", instance="a"}}': "1x10",
    f'trunkline_leader{{{PROD}, component="scaler", instance="a"}}': "0x10",
    f'trunkline_remaining_datums{{{DEV}, pipeline="edges"}}': "6000x10",
    f'trunkline_datums_total{{{DEV}, pipeline="edges", state="processed"}}': "0+60x10",
    f'trunkline_remaining_datums{{{PROD}, pipeline="edges"}}': "6000x10",
    f'trunkline_datums_total{{{PROD}, pipeline="edges", state="processed"}}': "0+600x10",
}
SHOWN = {
    ("trunkline-scaling", "Missing"): {"{}": 3},
    ("trunkline-scaling", "Nodes"): {"{}": 10},
    ("trunkline-scaling", "Each pipeline"): {
        f'{{{DEV}, pipeline="edges"}}': 2,
        f'{{{DEV}, pipeline="words"}}': 3,
        f'{{{PROD}, pipeline="edges"}}': 3,
    },
    ("trunkline-overview", "Leaders"): {
        f'{{{DEV}, component="scaler", instance="a"}}': 1,
        f'{{{PROD}, component="scaler", instance="a"}}': 0,
    },
    ("trunkline-pipeline", "Time until done"): {"{}": 6000},
    ("trunkline-overview", "Success"): {"{}": 1},
    ("trunkline-pipeline", "Attempts per datum"): {},
}
"""Board and panel -> what it shows."""


def test_panels_tell_two_installations_apart_and_hide_no_lack(
    promtool: str, tmp_path: Path
) -> None:
    asked = [
        {
            "expr": dashboards.sent(expression(uid, title), rate="5m", shown="5m"),
            "eval_time": "10m",
            "exp_samples": [{"labels": name, "value": value} for name, value in shown.items()],
        }
        for (uid, title), shown in SHOWN.items()
    ]
    series = [{"series": name, "values": values} for name, values in SERIES.items()]
    told = {"interval": "1m", "input_series": series, "promql_expr_test": asked}
    (tmp_path / "shown.yaml").write_text(yaml.safe_dump({"tests": [told]}))
    words = [promtool, "test", "rules", str(tmp_path / "shown.yaml")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def expression(uid: str, title: str) -> str:
    (panel,) = (
        each for each in dashboards.panels(dashboards.read()[uid]) if each["title"] == title
    )
    (query,) = panel["targets"]
    found: str = query["expr"]
    return found
