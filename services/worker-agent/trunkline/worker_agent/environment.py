"""The environment of the user's command: Pachyderm's variables, and nothing of the agent's own.

What the agent's environment holds for itself (credentials of NATS and of the store above all) is
never passed on: only a few variables that say where the machine has its programs and how it speaks.
Secrets are handed over in the environment alone; all else stands in `/pfs/.env`, too.
"""

import shlex
from collections.abc import Mapping

from trunkline.contracts import traces
from trunkline.contracts.messages import DatumTask, JobTicket

_PASSED_ON = frozenset(
    {"PATH", "HOME", "LANG", "LANGUAGE", "LOGNAME", "SHELL", "TZ", "USER", "SSL_CERT_FILE"}
)
_JOB_FACTS = frozenset(
    {
        "PACH_JOB_ID",
        "PACH_OUTPUT_COMMIT_ID",
        "PFS",
        "PPS_PIPELINE_NAME",
        "PPS_POD_NAME",
        "PPS_PROJECT_NAME",
        "PPS_SPEC_COMMIT",
        "PPS_WORKER_IP",
        "TRUNKLINE_JOB_ID",
        "TRUNKLINE_OUTPUT_COMMIT_ID",
        "TRUNKLINE_PIPELINE",
        "TRUNKLINE_WORKER",
    }
)
_PROJECT = "default"
"""There are no projects here; Pachyderm's own default."""
_DEFAULTS = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108


def base(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a command inherits of the agent's environment."""
    passed = {
        key: value
        for key, value in environ.items()
        if key in _PASSED_ON or (key.startswith("LC_") and key.isidentifier())
    }
    return {**_DEFAULTS, **passed}


def of_job(
    ticket: JobTicket, task: DatumTask, *, pfs: str, worker: str, address: str
) -> dict[str, str]:
    """Return what is the same for all datums of a job: the spec's `env`, and above it the job's facts.

    Args:
        ticket: The job.
        task: Any of its datums.
        pfs: Where the command finds its files: `/pfs`, or the worker's own directory.
        worker: This worker's name.
        address: The IP address at which its pod is reached.
    """
    return {
        **ticket.transform.env,
        "PACH_JOB_ID": task.job,
        "TRUNKLINE_JOB_ID": task.job,
        "PACH_OUTPUT_COMMIT_ID": task.job,
        "TRUNKLINE_OUTPUT_COMMIT_ID": task.job,
        "PPS_PIPELINE_NAME": task.pipeline,
        "PPS_PROJECT_NAME": _PROJECT,
        "PPS_SPEC_COMMIT": str(ticket.version),
        "PPS_POD_NAME": worker,
        "PPS_WORKER_IP": address,
        "TRUNKLINE_PIPELINE": task.pipeline,
        "TRUNKLINE_WORKER": worker,
        "PFS": pfs,
    }


def matches(task: DatumTask, *, pfs: str) -> dict[str, str]:
    """Return where the command finds what each input's glob matched; in a group, its last match."""
    found: dict[str, str] = {}
    for each in task.inputs:
        matched = each.path.strip("/")
        found[each.name] = f"{pfs}/{each.name}/{matched}" if matched else f"{pfs}/{each.name}"
    return found


def of_datum(task: DatumTask, *, pfs: str, traceparent: str = "") -> dict[str, str]:
    """Return what a datum's own variables are, which stand above the job's.

    An input that has the name of one of the job's facts has no variable.
    """
    own = matches(task, pfs=pfs)
    for each in task.inputs:
        own[f"{each.name}_COMMIT"] = each.commit
        if each.join_on:
            own[f"PACH_DATUM_{each.name}_JOIN_ON"] = each.join_on
        if each.group_by:
            own[f"PACH_DATUM_{each.name}_GROUP_BY"] = each.group_by
    for name in _JOB_FACTS & own.keys():
        del own[name]
    own["PACH_DATUM_ID"] = own["TRUNKLINE_DATUM_ID"] = task.datum
    own["TRUNKLINE_DATUM_INDEX"] = str(task.index)
    own["FILESET_ID"] = task.fingerprint
    if traceparent:
        own[traces.VARIABLE] = traceparent
    return own


def lines(variables: Mapping[str, str]) -> str:
    """Return variables as a file that a shell can read: a line each, its value quoted."""
    return "".join([f"{name}={shlex.quote(value)}\n" for name, value in variables.items()])
