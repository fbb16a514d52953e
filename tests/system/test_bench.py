"""The bench: each workload still runs on what there is, and tells what it has to."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workload", "scale"),
    [("w1", 0.1), ("w2", 0.1), ("w3", 0.1), ("w3p", 0.1), ("storm", 0.2)],
)
def test_a_small_run_of_a_workload_tells_all_its_figures(
    workload: str, scale: float, tmp_path: Path
) -> None:
    path = tmp_path / "told.json"
    command = [sys.executable, "-m", "bench", "--only", workload, "--runs", "1"]
    ended = subprocess.run(
        [*command, "--scale", str(scale), "--json", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(path.read_text())
    reached = {each["target"]: each["value"] for each in told["targets"]}
    assert {name for name, value in reached.items() if value is None} <= {
        "2 x faststream",
        "7 x Ray",
    }
    assert reached
    ours = [run for run in told["runs"] if run["system"] == "trunkline"]
    assert len(ours) == 1
    assert ours[0]["cpu_us"] == pytest.approx(sum(ours[0]["cpu_us_of"].values()))
    assert ours[0]["rss_of"]["coordinator"] > 0
    assert "CPU us/datum by kind of process" in ended.stdout
