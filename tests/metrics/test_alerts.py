"""Whether alerts fire when they should, and only then: promtool, over the histories in alerts_test.yaml."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.support import alerts

HISTORIES = Path(__file__).with_name("alerts_test.yaml")

pytestmark = pytest.mark.metrics


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "no promtool: apt-get install --no-install-recommends prometheus"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_promtool_takes_the_rules() -> None:
    checked = promtool("check", "rules", alerts.RULES)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(alerts.rules())} rules found" in checked.stdout


def laid_out(folder: Path, histories: str) -> Path:
    """Put histories beside the rules, which they name."""
    shutil.copy(alerts.RULES, folder)
    (folder / "histories.yaml").write_text(histories)
    return folder / "histories.yaml"


def test_alerts_fire_in_the_histories_in_which_they_should(tmp_path: Path) -> None:
    ran = promtool("test", "rules", laid_out(tmp_path, HISTORIES.read_text()))
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_history_that_expects_what_is_not_so_fails(tmp_path: Path) -> None:
    wrong = HISTORIES.read_text().replace('pipeline="large", severity', 'pipeline="fine", severity')
    ran = promtool("test", "rules", laid_out(tmp_path, wrong))
    assert ran.returncode != 0


def test_each_alert_has_a_history_in_which_it_fires() -> None:
    tests = yaml.safe_load(HISTORIES.read_text())["tests"]
    fires = {
        name
        for test in tests
        for looked in test["promql_expr_test"]
        for sample in looked["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    assert fires == set(alerts.rules())
