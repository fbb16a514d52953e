"""The pipeline spec: Pachyderm's, as far as Trunkline takes it over.

The structs name each field as the snake_case dialect does; `spec_parsing` accepts the others and
turns them into these. What a struct holds is complete: defaults are filled in, both spellings of a
setting are one. `code_hash` says which part of a spec is code: a change of anything else restarts no
worker and repeats no datum.
"""

import hashlib
from collections.abc import Iterator

import msgspec


class Secret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret that the user's command sees: as a file below `mount_path`, or in `env_var`."""

    name: str
    mount_path: str | None = None
    env_var: str | None = None
    key: str | None = None


class Transform(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The user's code."""

    cmd: tuple[str, ...]
    """The command and its arguments; no shell is put in between."""
    image: str = ""
    """The container image; without Kubernetes it has no effect, and a warning says so."""
    stdin: tuple[str, ...] = ()
    """Lines for the command's standard input; each gets a final newline."""
    env: dict[str, str] = {}
    working_dir: str = ""
    user: str = ""
    accept_return_code: tuple[int, ...] = ()
    """Exit codes that count as success beside 0."""


class Parallelism(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many workers: at most one of the two."""

    constant: int | None = None
    coefficient: float | None = None


class PfsInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files of a branch, made into datums by a glob."""

    repo: str
    glob: str
    name: str = ""
    """The directory under /pfs; filled in with the repo's name."""
    branch: str = "master"


class Input(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What a pipeline reads; exactly one kind."""

    pfs: PfsInput | None = None
    cross: tuple["Input", ...] | None = None
    """Each datum of one with each of the others; the last one varies fastest."""
    union: tuple["Input", ...] | None = None
    """The datums of all, one input after the other."""


class PipelineSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One pipeline."""

    name: str
    transform: Transform
    input: Input
    description: str = ""
    parallelism_spec: Parallelism = Parallelism()
    """Neither is set where the spec does not say: the installation's default coefficient, 1, holds."""
    standby: bool = False
    """Workers only while there is work (`autoscaling` in the newer dialects)."""
    datum_tries: int = 3
    datum_timeout_s: float | None = None
    """Seconds one try of one datum may take; then its process group is killed."""
    output_branch: str = "master"
    salt: str = ""
    """Part of every fingerprint: a changed salt runs everything again."""


def code_hash(transform: Transform) -> str:
    """Return 16 hex digits over what makes a result what it is: image, cmd, stdin, env, codes."""
    code = (
        transform.image,
        transform.cmd,
        transform.stdin,
        sorted(transform.env.items()),
        transform.working_dir,
        transform.user,
        sorted(transform.accept_return_code),
    )
    return hashlib.sha256(msgspec.json.encode(code)).hexdigest()[:16]


def leaves(value: Input, path: str = "$.input") -> Iterator[tuple[str, PfsInput]]:
    """Yield the JSON path and the leaf of each pfs input, in the order of the spec."""
    if value.pfs is not None:
        yield f"{path}.pfs", value.pfs
    for kind, children in (("cross", value.cross), ("union", value.union)):
        for position, child in enumerate(children or ()):
            yield from leaves(child, f"{path}.{kind}[{position}]")


def inputs(value: Input) -> tuple[PfsInput, ...]:
    """Return the leaves of an input, in the order of the spec."""
    return tuple(leaf for _, leaf in leaves(value))
