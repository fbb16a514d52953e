"""The alerts, as their file says them."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "manifests" / "prometheus" / "alerts.yaml"


def rules() -> dict[str, dict[str, Any]]:
    """Return all alerts by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len({each["alert"] for each in found}) == len(found)
    return {each["alert"]: each for each in found}
