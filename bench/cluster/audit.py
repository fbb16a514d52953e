"""What the API server was asked, by its own audit log: nothing is missed, and nothing stands in the way.

Its clock is this machine's, as the scaler's is, so moments of both can be compared.
"""

import collections
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request that was answered; a watch counts when it has begun."""

    user: str
    verb: str
    resource: str
    """With the subresource behind a slash."""
    name: str
    code: int
    asked_ns: int
    done_ns: int


def read(path: Path) -> list[Request]:
    """Return all requests, in the order in which they were answered."""
    return [each for line in path.read_text().splitlines() for each in _request(json.loads(line))]


def between(requests: Sequence[Request], since_ns: int, until_ns: int) -> list[Request]:
    """Return those that were asked within that time."""
    return [each for each in requests if since_ns <= each.asked_ns < until_ns]


def by_verb(requests: Sequence[Request]) -> dict[str, int]:
    """Return `verb resource` -> how many, the most first."""
    counted = collections.Counter(f"{each.verb} {each.resource}" for each in requests)
    return dict(counted.most_common())


def _request(line: dict[str, Any]) -> Iterator[Request]:
    verb, target = line["verb"], line.get("objectRef") or {}
    if (line["stage"] == "ResponseStarted") != (verb == "watch"):
        return
    kind, sub = target.get("resource", line["requestURI"]), target.get("subresource", "")
    yield Request(
        user=line["user"]["username"],
        verb=verb,
        resource=f"{kind}/{sub}" if sub else kind,
        name=target.get("name", ""),
        code=(line.get("responseStatus") or {}).get("code", 0),
        asked_ns=_ns(line["requestReceivedTimestamp"]),
        done_ns=_ns(line["stageTimestamp"]),
    )


def _ns(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp() * 1e6) * 1000
