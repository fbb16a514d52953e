"""Specs that nobody meant: good ones of every dialect, mutated, and texts that are hardly specs.

`mutated` changes a document, `garbled` a text. Both take a `random.Random`, so a seed is a case.
"""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import yaml

from trunkline.contracts import spec_tables
from trunkline.contracts.spec_sections import Section, section_of

SEEDS: list[dict[str, Any]] = [
    {
        "pipeline": {"name": "edges", "project": {"name": "default"}},
        "transform": {
            "cmd": ["python3", "/edges.py"],
            "image": "edges:1",
            "stdin": ["a", "b"],
            "env": {"A": "1"},
            "secrets": [{"name": "s", "env_var": "S", "key": "k"}],
            "errCmd": ["true"],
            "acceptReturnCode": [1, "2"],
        },
        "parallelism_spec": {"coefficient": "0.5"},
        "input": {"pfs": {"repo": "images", "glob": "/{a,b}/**/[a-z]*", "branch": "dev"}},
        "datumTimeout": "1h30m",
        "resource_limits": {"cpu": "500m", "memory": "1Gi", "gpu": {"type": "a.b/c", "number": 1}},
        "chunk_spec": {"number": "5"},
        "autoscaling": True,
        "metadata": {"labels": {"a": "b"}, "annotations": {"x/y": "z"}},
        "podPatch": '[{"op": "remove", "path": "/x"}]',
    },
    {
        "name": "words",
        "transform": {"cmd": ["sh"], "user": "1000:1000"},
        "input": {
            "cross": [
                {"join": [{"pfs": {"repo": r, "glob": "/(*)", "joinOn": "$1"}} for r in "ab"]},
                {
                    "union": [
                        {
                            "cron": {
                                "name": "t",
                                "spec": "*/5 1-3 * jan,feb mon",
                                "start": "2024-01-01T00:00:00Z",
                            }
                        }
                    ]
                },
                {
                    "group": [
                        {
                            "pfs": {
                                "repo": "c",
                                "glob": "/(*)",
                                "group_by": "$1",
                                "trigger": {"size": "1G"},
                            }
                        }
                    ]
                },
            ]
        },
        "tolerations": [{"key": "a", "operator": "EXISTS", "effect": "NO_EXECUTE"}],
    },
]

TEXTS = [
    *(json.dumps(each) for each in SEEDS),
    *(json.dumps(each, indent="\t") for each in SEEDS),
    *(yaml.safe_dump(each) for each in SEEDS),
]

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3, 2**53, 10**40, 0.5, float("nan"), float("inf"), "", "a", "out", "/*", "/[",
    "5m", "9" * 50, "\0", "\ud800", "é", "-1", "1e9", "x" * 1000, [], {}, [[]], {"a": {}}, [None], "{}", "[]",
    "* * * * *", "@every 1s", "1Gi", "default", b"bytes", 10**5000, {1: 2}, {None: 3}, {"": ""},
]  # fmt: skip


def _names(section: Section, seen: set[str]) -> Iterator[str]:
    if section.name not in seen:
        seen.add(section.name)
        for each in section.fields:
            yield from each.spellings
            below = section_of(each.kind)
            if below is not None:
                yield from _names(below, seen)


NAMES = sorted(set(_names(spec_tables.SPEC, set())))


def mutated(chance: random.Random) -> Any:
    """Return a seed after some changes at random places."""
    document = json.loads(json.dumps(chance.choice(SEEDS)))
    for _ in range(chance.choice([1, 1, 2, 5])):
        places = list(_places(document))
        holder, key = chance.choice(places)
        _change(holder, key, chance)
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place in a document: what holds it, and its key or position there."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def _change(holder: Any, key: Any, chance: random.Random) -> None:
    match chance.randrange(6):
        case 0 if len(holder) > 1:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[chance.choice(NAMES)] = copy.deepcopy(holder[key])
        case 2 if isinstance(holder, dict):
            holder[chance.choice(NAMES)] = copy.deepcopy(chance.choice(ODD))
        case 3 if isinstance(holder[key], str) and holder[key]:
            holder[key] = _garbled(holder[key], chance)
        case 4:
            holder[key] = [copy.deepcopy(holder[key]) for _ in range(chance.randint(1, 3))]
        case _:
            holder[key] = copy.deepcopy(chance.choice(ODD))


def garbled(chance: random.Random) -> bytes:
    """Return a text of a seed, as JSON or YAML, with some characters changed."""
    return _garbled(chance.choice(TEXTS), chance).encode("utf-8", "replace")


def _garbled(text: str, chance: random.Random) -> str:
    for _ in range(chance.choice([1, 1, 2, 5])):
        at, length = chance.randrange(len(text) + 1), chance.randint(0, 8)
        new = chance.choice(["", "{", "}", "[", "]", ":", ",", "\n", "\t", '"', "'", "- ", "&a ", "*a", "!!x ", "<<: ",
                             "\0", "é", "\\", "# ", "---\n", "|", "0", "9" * 30, "null", text[at : at + 40]])  # fmt: skip
        text = text[:at] + new + text[at + length :]
    return text
