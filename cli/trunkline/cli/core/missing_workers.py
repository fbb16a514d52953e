"""Why a pipeline has fewer workers than its work asks for: what stands in its record and its scaling."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trunkline.cli.core.explanations import Reason, named
from trunkline.contracts import records
from trunkline.contracts.states import PipelineState
from trunkline.contracts.wording import counted

_TAINT = re.compile(r"^taint (?P<key>[^=:]+)(?:=(?P<value>[^:]*))?:(?P<effect>\w+)$")
_LABEL = re.compile(r"^label (?P<key>.+) is not (?P<value>.*)$")

_REMEDIES: tuple[tuple[str, str, str], ...] = (
    (
        r"ImagePull|InvalidImageName|ErrImage",
        "no-image",
        "correct `transform.image`, or give its registry's credentials by `image_pull_secrets`",
    ),
    (
        r"Insufficient",
        "no-room",
        "ask for less in `resource_requests`, or add a node with room for it",
    ),
    (
        r"Unschedulable",
        "unschedulable",
        "let `tolerations`, `node_selector` or affinity of the spec fit a node, or add one that fits",
    ),
    (
        r"quota",
        "quota",
        "raise the namespace's ResourceQuota, or ask for fewer workers or less for each",
    ),
    (
        r"\boom\b|memory was used up|OOMKilled",
        "oom",
        "raise `resource_limits.memory` in the spec",
    ),
    (
        r"ended before it was ready|ends again and again|CrashLoopBackOff|CreateContainer",
        "does-not-start",
        "see what it says: the pod's log, or logs/workers/ of a local installation",
    ),
    (
        r"older code",
        "older-code",
        "stop the job of the older version with `trunkline stop job`, or use `trunkline apply --now`",
    ),
)
"""By what is found in a problem's text: kind and remedy, the first that fits."""


def reasons(
    pipeline: records.Pipeline | None, scaling: records.Scaling | None, code_hash: str = ""
) -> Iterator[Reason]:
    """Yield why workers are missing, the most likely cause first; nothing if all are there.

    Args:
        pipeline: The record; None where it is gone.
        scaling: What the scaler says of it.
        code_hash: Of the job that wants them; empty for any.
    """
    if pipeline is None:
        yield Reason(kind="pipeline-gone", why="its pipeline is deleted")
        return
    if pipeline.state is not PipelineState.RUNNING:
        yield _not_running(pipeline)
        return
    if scaling is None:
        yield Reason(
            kind="not-scaled",
            why="the scaler has decided nothing about it yet",
            remedy="if that stays so, `trunkline status` says whether a scaler leads",
        )
        return
    short = scaling.ready < scaling.want
    if short and not scaling.eligible and not any(each.eligible for each in scaling.nodes):
        yield no_node(pipeline.name, scaling.nodes, more=scaling.more_nodes)
    if scaling.problem:
        yield _problem(pipeline.name, scaling.problem)
    elif short:
        yield Reason(
            kind="starting",
            why=f"{scaling.want - scaling.ready} of {counted(scaling.want, 'worker')} still to come",
            remedy=f"`trunkline list workers {pipeline.name}` shows them",
        )
    if code_hash and code_hash not in scaling.wants and scaling.wants:
        yield Reason(
            kind="no-share",
            why="all workers are given to jobs of other versions of the pipeline's code",
            remedy="raise `parallelism_spec`, or stop the other jobs",
        )


def no_node(pipeline: str, nodes: Sequence[records.Node], *, more: int = 0) -> Reason:
    """Return that no node counts for a pipeline, nor do `more` that are not listed, and what would change that."""
    if not nodes:
        why = "no worker can be started: there are no nodes"
        return Reason(
            kind="no-node",
            why=why,
            remedy="add one (`trunkline nodes set 1` on an installation on one machine)",
        )
    left_out = Counter(each.why_not or "not eligible" for each in nodes)
    told = "; ".join(
        f"{named(each.name for each in nodes if (each.why_not or 'not eligible') == why)}: {why}"
        for why, _ in left_out.most_common()
    )
    count = len(nodes) + more
    many = f"none of {count} nodes counts" if count > 1 else "the only node does not count"
    remedies = dict.fromkeys(_node_remedy(why) for why, _ in left_out.most_common())
    return Reason(
        kind="no-node",
        why=f"{many} for the workers of {pipeline}: {told}",
        remedy="; or ".join(each for each in remedies if each),
    )


def _node_remedy(why_not: str) -> str:
    if taint := _TAINT.match(why_not):
        key, value, effect = taint["key"], taint["value"], taint["effect"]
        match = f'"value": "{value}", ' if value else '"operator": "Exists", '
        return (
            f'let the pipeline tolerate it: "tolerations": [{{"key": "{key}", {match}"effect": "{effect}"}}],'
            f" or take it off a node: `kubectl taint nodes NODE {key}-`"
        )
    if label := _LABEL.match(why_not):
        return (
            f"label a node: `kubectl label nodes NODE {label['key']}={label['value']}`,"
            " or change `node_selector` in the spec"
        )
    return {
        "cordoned": "`kubectl uncordon NODE`",
        "not ready": "mend the node, or add another",
        "node affinity does not match": "change the affinity in `pod_spec` or `pod_patch`, or label a node",
    }.get(why_not, "")


def _not_running(pipeline: records.Pipeline) -> Reason:
    name = pipeline.name
    match pipeline.state:
        case PipelineState.STOPPED:
            remedy = f"`trunkline start pipeline {name}`"
            return Reason(kind="stopped", why=f"pipeline {name} is stopped", remedy=remedy)
        case PipelineState.DELETING:
            return Reason(kind="deleting", why=f"pipeline {name} is being deleted")
        case _:
            return refused(pipeline)


def refused(pipeline: records.Pipeline) -> Reason:
    """Return why a pipeline's last spec was refused."""
    problems = pipeline.refusal.problems if pipeline.refusal else ()
    told = "; ".join(f"{path}: {text}" if path else text for path, text in problems)
    return Reason(
        kind="refused",
        why=f"the last spec that was published was refused: {told or 'it is not valid'}",
        remedy="correct it; `trunkline validate -f FILE` checks one without an installation",
    )


def _problem(pipeline: str, problem: str) -> Reason:
    for pattern, kind, remedy in _REMEDIES:
        if re.search(pattern, problem, re.IGNORECASE):
            return Reason(kind=kind, why=f"workers cannot work: {problem}", remedy=remedy)
    return Reason(
        kind="worker-problem",
        why=f"workers cannot work: {problem}",
        remedy=f"`trunkline list events {pipeline}` shows when that began",
    )


def back(pipeline: records.Pipeline, said: Mapping[str, Any]) -> str:
    """Return what gives workers back that a decision took, by what the event of it says."""
    want, cap = said.get("want"), said.get("cap")
    if pipeline.state is PipelineState.STOPPED:
        return f"`trunkline start pipeline {pipeline.name}`"
    if pipeline.state is not PipelineState.RUNNING:
        return ""  # it goes, and its workers with it
    match said.get("kind"):
        case "stopped":
            return ""  # it was started again
        case "idle" | "cool-down" | "to-come" | "work" if want != cap:
            return "none is needed: they come back when there is work"
        case _:
            return "more nodes, or another `parallelism_spec`, give more workers"
