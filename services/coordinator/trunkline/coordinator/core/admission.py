"""Which parts of a spec that parsed this installation runs.

`NOT_YET` is the one place that holds back what the parser understands and the coordinator, the scaler or
the workers do not do yet: whoever builds one of these deletes its line.
"""

from collections.abc import Mapping, Sequence

from trunkline.contracts import spec, spec_tables
from trunkline.contracts.spec_sections import Effect

NOT_YET = {
    "pfs.lazy": "so far files are fetched before the command starts: leave it out",
    "pfs.trigger": "so far every commit sets off a job: commit to another branch first",
}
"""Keys as in `spec_sections.Used.key`; the sentence says what to do until then."""


def refusals(wanted: spec.PipelineSpec) -> list[tuple[str, str]]:
    """Return a problem for each field of a spec that cannot be run yet."""
    return [
        (f"$.{used.path}", f"is not supported yet: {NOT_YET[used.key]}")
        for used in spec_tables.used_fields(wanted)
        if used.key in NOT_YET
    ]


def missing_secrets(
    wanted: spec.PipelineSpec, there: Mapping[str, Sequence[str]] | None
) -> list[tuple[str, str]]:
    """Return a problem for each secret that a spec names and that is not there.

    Args:
        wanted: The spec.
        there: The keys of each secret; None where that is not known: a pod that misses one says so.
    """
    found: list[tuple[str, str]] = []
    for position, each in enumerate(wanted.transform.secrets if there is not None else ()):
        at, keys = f"$.transform.secrets[{position}]", (there or {}).get(each.name)
        create = f"`trunkline create secret {each.name}`"
        if keys is None:
            found.append((f"{at}.name", f"secret {each.name!r} does not exist: {create} first"))
        elif each.key and each.key not in keys:
            text = f"secret {each.name!r} has no key {each.key!r}: {create} with that key"
            found.append((f"{at}.key", text))
    return found


def without_effect(wanted: spec.PipelineSpec, *, local: bool) -> tuple[str, ...]:
    """Return the fields of a spec that change nothing in this installation, to be told as a warning.

    Of what is inside a section only the section itself is named.
    """
    fields = [
        used.path
        for used in spec_tables.used_fields(wanted)
        if local and used.field.effect is Effect.KUBERNETES
    ]
    outer = [path for path in fields if not any(path.startswith(f"{other}.") for other in fields)]
    outer = [path for path in outer if "[" not in path]
    return (*outer, *wanted.unused)
