"""From the text of a spec to a `PipelineSpec`, or to every reason why not.

`spec_reading` reads the text, whichever form it has; the tables of `spec_tables` say which fields there
are in Pachyderm's dialects and what each may hold; `spec_checks` and `spec_inputs` add what no single
field can say. All problems are told at once, each with its JSON path. A spec is hostile input: nothing
in it makes this raise anything but InvalidSpecError, take long, or answer at great length.
"""

from typing import Any

import msgspec

from trunkline.contracts import errors, names, spec, spec_reading, spec_tables
from trunkline.contracts.spec_findings import Findings
from trunkline.contracts.spec_sections import plain


def parse(data: bytes) -> spec.PipelineSpec:
    """Return the one spec that a text holds, or raise InvalidSpecError with all problems."""
    found = documents(data)
    if len(found) > 1:
        text = f"it holds {len(found)} specs where one is expected"
        raise errors.InvalidSpecError([("$", text)])
    return convert(found[0])


def documents(data: bytes) -> list[Any]:
    """Return the documents in a text, one per spec, or raise InvalidSpecError; see `convert`."""
    return spec_reading.documents(data)


def check_text(document: object) -> None:
    """Raise InvalidSpecError if a document says what no field can mean; see `spec_reading.faults`."""
    found = Findings(spec_reading.faults(document))
    if found.problems:
        raise errors.InvalidSpecError(found.told())


def convert(document: object) -> spec.PipelineSpec:
    """Return the spec that a document describes, or raise InvalidSpecError with all problems."""
    found = Findings(spec_reading.faults(document))
    if found.full or any(at == "$" for at, _ in found.problems):  # it had better not be walked
        raise errors.InvalidSpecError(found.told())
    node = spec_tables.read(document, found)
    if found.problems or node is None:
        raise errors.InvalidSpecError(found.told())
    raw = plain(node)
    if "pipeline" in node:
        raw["name"] = node["pipeline"]["name"]
    taken = msgspec.convert({**raw, "unused": found.unused}, spec.PipelineSpec)
    try:
        return msgspec.structs.replace(taken, input=_filled(taken.input, taken.name))
    except errors.InvalidNameError as error:
        text = f"{error}; give the cron input a `repo`"
        raise errors.InvalidSpecError([("$.input", text)]) from error


def _filled(value: spec.Input, pipeline: str) -> spec.Input:
    """Return the input with each leaf's name, and the repos of ticks, filled in."""
    pfs, cron = value.pfs, value.cron
    if pfs is not None:
        pfs = msgspec.structs.replace(pfs, name=pfs.name or pfs.repo)
    if cron is not None:
        repo = cron.repo or names.repo(f"{pipeline}_{cron.name}")
        cron = msgspec.structs.replace(cron, repo=repo)
    children = {
        kind: tuple(_filled(each, pipeline) for each in inner)
        for kind, inner in spec.combined(value)
    }
    return msgspec.structs.replace(value, pfs=pfs, cron=cron, **children)
