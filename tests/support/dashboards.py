"""The dashboards as Grafana is given them: their panels, and the expressions as Grafana would send them."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "manifests" / "grafana" / "dashboards"

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LABELS = re.compile(r"\{[^}]*\}|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_WORD = re.compile(r"(?<![\w.])[A-Za-z_:][\w:]*(?!\s*\(|[\w:])")
_WORDS = {"by", "without", "on", "ignoring", "and", "or", "unless", "bool", "offset", "inf", "nan"}


def read() -> dict[str, dict[str, Any]]:
    """Return each dashboard by its uid."""
    boards = (json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json")))
    return {board["uid"]: board for board in boards}


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all panels but the headings."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def sent(expr: str, *, pipeline: str = ".*", rate: str = "10s", shown: str = "60s") -> str:
    """Return an expression as Grafana sends it, with its variables filled in."""
    filled = {"$__rate_interval": rate, "$__range": shown, "$pipeline": pipeline}
    filled["$installation"] = ".*"
    for name, value in filled.items():
        expr = expr.replace(name, value)
    return expr


def metrics(expr: str) -> set[str]:
    """Return the names of the metrics in an expression, of a dashboard or an alert."""
    bare = re.sub(r"\[[^\]]*\]", "", _LABELS.sub("", _STRING.sub("", expr)))
    return {word for word in _WORD.findall(bare) if word not in _WORDS}
