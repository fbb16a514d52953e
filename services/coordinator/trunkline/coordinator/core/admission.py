"""Which parts of a spec that parsed this installation runs.

`NOT_YET` is the one place that holds back what the parser understands and the coordinator, the scaler or
the workers do not do yet: whoever builds one of these deletes its line.
"""

from trunkline.contracts import spec, spec_tables
from trunkline.contracts.spec_sections import Effect

NOT_YET = {
    "pfs.lazy": "so far files are fetched before the command starts: leave it out",
    "pfs.trigger": "so far every commit sets off a job: commit to another branch first",
    "transform.err_cmd": "it is not run yet: let the command itself deal with failures and exit with 0",
    "transform.err_stdin": "`err_cmd` is not run yet",
    "transform.secrets": "so far no secrets are handed over: let the command fetch them",
}
"""Keys as in `spec_sections.Used.key`; the sentence says what to do until then."""


def refusals(wanted: spec.PipelineSpec) -> list[tuple[str, str]]:
    """Return a problem for each field of a spec that cannot be run yet."""
    return [
        (f"$.{used.path}", f"is not supported yet: {NOT_YET[used.key]}")
        for used in spec_tables.used_fields(wanted)
        if used.key in NOT_YET
    ]


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
