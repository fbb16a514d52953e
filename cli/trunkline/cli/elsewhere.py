"""What people type who know Pachyderm's verbs, or kubectl's: and what the same is called here.

Looked at only where a verb or noun is not there. Like `options`, it imports nothing that answers slowly.
"""

from collections.abc import Collection, Sequence

_APPLY = "`trunkline apply -f FILE` creates a pipeline, or gives it a new version"
_COMMIT = "each `trunkline put REPO@BRANCH -f PATH` is a commit of its own"
_RERUN = "`trunkline rerun pipeline NAME` or `trunkline rerun job JOB`"
_LS = '`trunkline ls "REPO@BRANCH:GLOB"`'
_FILES = "`trunkline put REPO@BRANCH -f PATH --replace` leaves only what is put"

VERBS = {
    "update": _APPLY,
    "submit": _APPLY,
    "deploy": _APPLY,
    "edit": "`trunkline inspect pipeline NAME` shows the spec, and `trunkline apply -f FILE` takes a changed one",
    "describe": "`trunkline inspect`, and `trunkline explain` says why",
    "show": "`trunkline inspect`",
    "run": _RERUN,
    "retry": _RERUN,
    "kill": "`trunkline stop job JOB`",
    "cancel": "`trunkline stop job JOB`",
    "flush": "`trunkline wait REPO@COMMIT`",
    "subscribe": "`trunkline wait REPO@BRANCH`, again for each commit",
    "finish": _COMMIT,
    "glob": _LS,
    "find": _LS,
    "copy": "`trunkline get file`, then `trunkline put`",
    "cp": "`trunkline get file` and `trunkline put`",
    "download": "`trunkline get file`",
    "upload": "`trunkline put`",
    "rm": "`trunkline delete`",
    "scale": "`parallelism_spec` in the pipeline's spec, by `trunkline apply -f FILE`",
    "watch": "`trunkline top`",
    "ps": "`trunkline status`, or `trunkline list workers`",
    "init": "`trunkline up`",
    "undeploy": "`trunkline down`",
}
"""By the verb, whatever noun follows."""

NOUNS = {
    ("create", "pipeline"): _APPLY,
    ("create", "job"): _RERUN,
    ("start", "job"): _RERUN,
    ("start", "commit"): _COMMIT,
    ("create", "commit"): _COMMIT,
    ("create", "file"): "`trunkline put REPO@BRANCH -f PATH`",
    ("restart", "pipeline"): "`trunkline rerun pipeline NAME`",
    ("restart", "job"): "`trunkline rerun job JOB`",
    ("rerun", "datum"): "`trunkline restart datum JOB DATUM`",
    ("list", "branch"): "`trunkline inspect repo REPO`",
    ("list", "node"): "`trunkline explain PIPELINE`, or `trunkline nodes get`",
    ("inspect", "branch"): "`trunkline inspect commit REPO@BRANCH`",
    ("inspect", "file"): "`trunkline ls REPO@BRANCH:PATH`",
    ("inspect", "secret"): "`trunkline list secrets`",
    ("delete", "file"): _FILES,
    ("delete", "all"): "`trunkline delete pipeline --all`",
    ("list", "pod"): "`trunkline list workers`",
}
"""By the verb and the singular noun; `get`, which is kubectl's, lists."""


def forms(noun: str) -> Sequence[str]:
    """Return a noun as it was typed, and what else may be meant by it: its plural, or its singular."""
    shorter = [noun.removesuffix(end) for end in ("s", "es") if noun.endswith(end)]
    return (noun, noun + "s", noun + "es", *shorter)


def verb(word: str, listed: Collection[str]) -> str:
    """Return what is to be typed instead of a word that is no verb here; empty if nobody knows.

    Args:
        word: What was typed.
        listed: The nouns that can be listed, which some type without a verb.
    """
    if word in VERBS:
        return VERBS[word]
    return next((f"`trunkline list {each}`" for each in forms(word) if each in listed), "")


def noun(verb: str, word: str) -> str:
    """Return what is to be typed instead of a verb with a noun that it does not know; empty if nobody knows."""
    meant = "list" if verb == "get" else verb
    return next((NOUNS[meant, each] for each in forms(word) if (meant, each) in NOUNS), "")
