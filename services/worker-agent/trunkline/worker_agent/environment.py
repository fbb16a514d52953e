"""The environment of the user's command: Pachyderm's variables, and nothing of the agent's own.

What the agent's environment holds for itself (credentials of NATS and of the store above all) is
never passed on: only a few variables that say where the machine has its programs and how it speaks.
"""

import posixpath
from collections.abc import Mapping

from trunkline.contracts.messages import DatumTask, JobTicket

_PASSED_ON = frozenset(
    {"PATH", "HOME", "LANG", "LANGUAGE", "LOGNAME", "SHELL", "TZ", "USER", "SSL_CERT_FILE"}
)
_DEFAULTS = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108


def base(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a command inherits of the agent's environment."""
    passed = {
        key: value
        for key, value in environ.items()
        if key in _PASSED_ON or (key.startswith("LC_") and key.isidentifier())
    }
    return {**_DEFAULTS, **passed}


def of(
    inherited: Mapping[str, str], ticket: JobTicket, task: DatumTask, *, pfs: str, worker: str
) -> dict[str, str]:
    """Return the whole environment of one run.

    Later ones win: what is inherited, the spec's `env`, and what this datum is.

    Args:
        inherited: From `base`.
        ticket: The job.
        task: The datum.
        pfs: Where the command finds its files: `/pfs`, or the worker's own directory.
        worker: This worker's name.
    """
    facts = {
        "JOB_ID": task.job,
        "DATUM_ID": task.datum,
        "OUTPUT_COMMIT_ID": task.job,
    }
    inputs: dict[str, str] = {}
    for each in task.inputs:
        matched = each.path.strip("/")
        inputs[each.name] = (
            posixpath.join(pfs, each.name, matched) if matched else f"{pfs}/{each.name}"
        )
        inputs[f"{each.name}_COMMIT"] = each.commit
    return {
        **inherited,
        **ticket.transform.env,
        **inputs,
        **{f"PACH_{key}": value for key, value in facts.items()},
        **{f"TRUNKLINE_{key}": value for key, value in facts.items()},
        "PPS_PIPELINE_NAME": task.pipeline,
        "PPS_POD_NAME": worker,
        "TRUNKLINE_PIPELINE": task.pipeline,
        "TRUNKLINE_WORKER": worker,
        "TRUNKLINE_DATUM_INDEX": str(task.index),
        "PFS": pfs,
    }
