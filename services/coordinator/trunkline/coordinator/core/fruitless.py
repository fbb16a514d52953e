"""Why a job has no datums at all: said in its record, since it succeeds, with an empty output.

A cross has none where one of its inputs has none, a join also where no two keys are the same. So what
is looked at is each input by itself, and only if each has something is it their keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trunkline.contracts import records

LENGTH = 1000
"""Of all that is said: inputs may be many, and globs long."""


@dataclass(frozen=True)
class Look:
    """What one input of a job has by itself."""

    given: records.JobInput
    glob: str
    files: int
    """In its commit."""
    matches: bool
    """Whether any of them, or a directory of theirs, matches."""


def why(looks: Sequence[Look]) -> str:
    """Return why no datum comes of these inputs."""
    bare = [_bare(each) for each in looks if not each.matches]
    apart = "its inputs have matches, but none that belong together by their keys"
    return f"no datums: {'; '.join(bare) or apart}"[:LENGTH]


def _bare(look: Look) -> str:
    place = f"{look.given.repo}@{look.given.branch}"
    match look.files:
        case 0:
            return f"{place} has no files"
        case 1:
            return f"the only file of {place} does not match the glob {look.glob!r}"
        case many:
            return f"none of the {many} files of {place} matches the glob {look.glob!r}"
