"""The versions of a pipeline, and what each of them changed."""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import msgspec

from trunkline.cli import render, session
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import records, spec

MOST_NAMED = 6
"""Fields that are named in a line."""


def list_versions(asked: Asked, pipeline: str) -> None:
    """List versions, newest first."""

    async def body(client: Client) -> None:
        listed = client.every("pipeline.versions", records.Pipeline, key=pipeline, page=100)
        found = await render.gathered(asked, listed)
        if render.records(asked, found):
            return
        changes = [changed(older.spec, newer.spec) for newer, older in pairwise(found)]
        changes += ["created" if each.version == 1 else "" for each in found[-1:]]
        rows = [
            (each.version, _code(each), render.age(each.updated_ns), change)
            for each, change in zip(found, changes, strict=True)
        ]
        render.table(asked, ("version", "code", "age", "changed"), rows)

    session.run(asked, body)


def _code(pipeline: records.Pipeline) -> str:
    return spec.code_hash(pipeline.spec.transform) if pipeline.spec else "-"


def changed(older: spec.PipelineSpec | None, newer: spec.PipelineSpec | None) -> str:
    """Return the paths of the fields in which two specs differ."""
    paths = sorted(_paths(msgspec.to_builtins(older), msgspec.to_builtins(newer)))
    more = [f"and {len(paths) - MOST_NAMED} more"] if len(paths) > MOST_NAMED else []
    return ", ".join(paths[:MOST_NAMED] + more)


def _paths(older: object, newer: object, path: str = "") -> Iterator[str]:
    if isinstance(older, Mapping) and isinstance(newer, Mapping):
        for key in {*older, *newer}:
            inner = f"{path}.{key}" if path else str(key)
            yield from _paths(older.get(key), newer.get(key), inner)
    elif older != newer:
        yield path or "spec"
