"""What the type of a field cannot say: texts that must be names, and fields that depend on each other.

The checks of texts raise InvalidNameError. Those of objects take a Node and tell what they find; a value
that is INVALID has been told already, and counts as given.
"""

import re
from collections.abc import Callable

from trunkline.contracts import errors
from trunkline.contracts.spec_findings import Findings
from trunkline.contracts.spec_kinds import INVALID, Check
from trunkline.contracts.spec_sections import Node

_LABEL_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"


def matching(what: str, pattern: str, rule: str) -> Check:
    """Return a check that a text is a name of some sort."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> None:
        if len(value) > 512 or not compiled.fullmatch(value):
            raise errors.InvalidNameError(what, value, rule)

    return check


environment_variable = matching(
    "environment variable", r"[^=\0]+", "1 to 512 characters without `=`"
)
user = matching("user", r"[\w.-]+(:[\w.-]+)?", "a name or uid, with `:` and a gid behind it or not")
image = matching("image", r"\S*", "a reference without spaces")
label_key = matching(
    "key", rf"({_DOMAIN}/)?{_LABEL_NAME}", "a label's key as Kubernetes has it: [prefix/]name"
)
label_value = matching(
    "value",
    rf"({_LABEL_NAME})?",
    "a label's value as Kubernetes has it: at most 63 of A-Za-z0-9_.-",
)
object_name = matching("name", _DOMAIN, "a name as Kubernetes has it: a-z 0-9 . -")
secret_key = matching(
    "key", r"(?!\.\.|\.$)[A-Za-z0-9_.-]{1,253}", "1 to 253 of A-Za-z0-9_.-, not beginning with `..`"
)
_absolute = matching("mount path", r"/[^:\0]+", "an absolute path without `:`")
_OURS = frozenset({"pfs", "proc", "sys", "dev", "trunkline"})
"""What belongs to the kernel or to us, with all that is below."""
_PROGRAMS = frozenset(
    [
        "bin",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "run",
        "sbin",
        "usr",
        "usr/bin",
        "usr/lib",
        "usr/lib64",
        "usr/local",
        "usr/local/bin",
        "usr/local/lib",
        "usr/sbin",
    ]
)
"""Where commands, interpreters and libraries lie; elsewhere below, a directory may be put."""


def mount_path(value: str) -> None:
    """Check that a directory that is put there hides nothing that commands need."""
    _absolute(value)
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        rule = "a directory below the root, without `..`"
    elif parts[0] in _OURS or parts[:2] == ["run", "trunkline"]:
        rule = f"outside of {', '.join(f'/{name}' for name in sorted(_OURS))}"
    elif "/".join(parts) in _PROGRAMS:
        rule = "a directory of its own, since it would hide programs that the command needs"
    else:
        return
    raise errors.InvalidNameError("mount path", value, rule)


default_project = matching(
    "project",
    "default|",
    "`default`, or left out: there are no projects here; put the project into the name",
)
user_repo = matching(
    "repo type", "user|", "`user`, or left out: repos of other types do not exist here"
)


def exactly_one(*names: str) -> Callable[[Node, Findings], None]:
    """Return a check that one of the fields is set, and no other of them."""

    def check(node: Node, found: Findings) -> None:
        given = [f"`{name}`" for name in names if name in node]
        if len(given) != 1 and (given or INVALID not in node.values()):
            *some, last = (f"`{name}`" for name in names)
            told = " and ".join(given) or "none"
            found.wrong(node.at, f"set exactly one of {', '.join(some)} and {last}, not {told}")

    return check


def transform(node: Node, found: Findings) -> None:
    """Check that there is something to run."""
    for name in ("cmd", "err_cmd"):
        cmd = node.get(name)
        if isinstance(cmd, list) and (not cmd or cmd[0] == ""):
            found.wrong(node.path(name), "nothing to run: it is empty")
    _needs(node, "err_stdin", "err_cmd", found)


def secret(node: Node, found: Findings) -> None:
    """Check that a secret goes into a directory or into a variable."""
    exactly_one("mount_path", "env_var")(node, found)
    _needs(node, "key", "env_var", found)
    _needs(node, "env_var", "key", found)


def datum_sets(node: Node, found: Findings) -> None:
    """Check that the size of sets is given in one way."""
    if node.get("per_worker") and (node.get("number") or node.get("size_bytes")):
        found.wrong(node.path("per_worker"), "cannot be set with `number` or `size_bytes`")


def trigger(node: Node, found: Findings) -> None:
    """Check that there is a condition, and that a schedule is the only one."""
    conditions = [name for name in ("rate_limit_spec", "size", "commits") if name in node]
    if not conditions and "cron_spec" not in node:
        text = "needs a condition: `rate_limit_spec`, `size`, `commits` or `cron_spec`"
        found.wrong(node.at, text)
    if conditions and "cron_spec" in node:
        found.wrong(node.path("cron_spec"), f"cannot be set with `{conditions[0]}`")


def toleration(node: Node, found: Findings) -> None:
    """Check what Kubernetes would refuse."""
    if node.get("operator") == "Exists" and node.get("value"):
        found.wrong(node.path("value"), "must be empty where the operator is EXISTS")
    if "key" not in node and node.get("operator", "Equal") == "Equal":
        found.wrong(f"{node.at}.key", "is missing; only with the operator EXISTS it means all keys")
    if "toleration_seconds" in node and node.get("effect") not in ("NoExecute", INVALID):
        found.wrong(node.path("toleration_seconds"), "needs the effect NO_EXECUTE")


def whole_spec(node: Node, found: Findings) -> None:
    """Check what concerns the spec as a whole."""
    if "pipeline" in node and "name" in node:
        found.wrong(node.path("name"), "set only one of `pipeline.name` and `name`")
    elif "pipeline" not in node and "name" not in node:
        found.wrong("$.pipeline.name", "is missing")
    _check_resources(node, found)
    transform = node.get("transform")
    if "speculation" in node and isinstance(transform, Node) and "err_cmd" in transform:
        text = "cannot be set with `err_cmd`: a second copy would run beside what that puts right"
        found.wrong(node.path("speculation"), text)


def _check_resources(node: Node, found: Findings) -> None:
    requests, limits = node.get("resource_requests"), node.get("resource_limits")
    if not isinstance(requests, Node) or not isinstance(limits, Node):
        return
    for name in ("cpu", "memory", "disk"):
        asked, most = requests.get(name), limits.get(name)
        if isinstance(asked, int | float) and isinstance(most, int | float) and asked > most:
            text = f"is more than `resource_limits.{name}` allows"
            found.wrong(requests.path(name), text)


def _needs(node: Node, name: str, other: str, found: Findings) -> None:
    if name in node and other not in node:
        found.wrong(node.path(name), f"needs `{other}`")
