"""The Tiltfile, evaluated without Tilt: in a real Starlark, with functions in the place of Tilt's that write down what they are given.

Their parameters are those of Tilt's own functions, as far as the Tiltfile uses them, so that a mistyped one is an error here, too. What
Tilt checks when a file has been read is checked by `Tiltfile` and by who asks it. The program itself, where there is one, does the same
in `tests/unit/tilt/test_real_tilt.py`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import starlark
from tests.support import rendering

PROJECT = Path(__file__).parents[2]
PATH = PROJECT / "tilt" / "Tiltfile"
MANUAL, AUTO = "manual", "auto"

Object = dict[str, Any]
Call = dict[str, Any]
"""What a function was given, by the names of its parameters, with `is`: which one it was."""

PRELUDE = """
os = struct(path=struct(dirname=_dirname, join=_join), getenv=_getenv)
config = struct(
    main_dir=_main_dir, tilt_subcommand=_subcommand, parse=_parse, set_enabled_resources=_set_enabled_resources,
    define_string=_define_string, define_string_list=_define_string_list, define_bool=_define_bool,
)
"""


class ArgumentError(Exception):
    """The command line is not one that the Tiltfile defines."""


@dataclass
class Settings:
    """What `config` does: which arguments there are, and what was given."""

    words: Sequence[str]
    kinds: dict[str, str] = field(default_factory=dict)
    usages: dict[str, str] = field(default_factory=dict)
    positional: str = ""

    def define(self, kind: str) -> Callable[..., None]:
        def definition(name: str, args: bool = False, usage: str = "") -> None:
            self.kinds[name], self.usages[name] = kind, usage
            if args:
                self.positional = name

        return definition

    def parse(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for word in self.words:
            name, given, text = word.removeprefix("--").partition("=")
            if not word.startswith("--"):
                found.setdefault(self.positional, []).append(word)
            elif name not in self.kinds:
                told = f"unknown flag: --{name}"
                raise ArgumentError(told)
            elif self.kinds[name] == "bool":
                found[name] = not given or text.lower() == "true"
            else:
                assert given, f"--{name} needs a value"
                found[name] = text
        return found


class Tiltfile:
    """What it declares, told these arguments.

    Args:
        words: What follows `--`.
        subcommand: `up`, or `ci`.
        environ: What the environment holds.
    """

    def __init__(self, *words: str, subcommand: str = "up", **environ: str) -> None:
        self.settings = Settings(words)
        self.images: dict[str, Call] = {}
        self.objects: list[Object] = []
        self.local: dict[str, Call] = {}
        self.workloads: dict[str, Call] = {}
        self.enabled: list[str] = []
        self.called: list[str] = []
        self._evaluate(subcommand, environ)

    def __getitem__(self, resource: str) -> Call:
        return {**self.local, **self.workloads}[resource]

    @property
    def resources(self) -> dict[str, Call]:
        """All of them, by name."""
        assert not self.local.keys() & self.workloads.keys()
        return {**self.local, **self.workloads}

    def started(self, *, asked: bool = False) -> list[str]:
        """Return the resources that are enabled, each after all that it depends on.

        Args:
            asked: Only those that start without being asked to.
        """
        found: list[str] = []

        def visit(name: str, above: tuple[str, ...]) -> None:
            assert name not in above, f"a circle: {above} {name}"
            for each in self[name]["resource_deps"]:
                visit(each, (*above, name))
            if name not in found:
                found.append(name)

        for name in self.enabled or self.resources:
            visit(name, ())
        return [each for each in found if not asked or self[each]["auto_init"]]

    def _evaluate(self, subcommand: str, environ: dict[str, str]) -> None:
        module = starlark.Module()
        for name, function in {**self._functions(), **self._config(), **_os(environ)}.items():
            module.add_callable(name, self._noted(name, function))
        module["_main_dir"], module["_subcommand"] = str(PATH.parent), subcommand
        module["TRIGGER_MODE_MANUAL"], module["TRIGGER_MODE_AUTO"] = MANUAL, AUTO
        dialect = starlark.Dialect.extended()
        dialect.enable_top_level_stmt = True
        known = starlark.Globals.extended_by([starlark.LibraryExtension.StructType])
        starlark.eval(module, starlark.parse("prelude", PRELUDE, dialect), known)
        starlark.eval(module, starlark.parse(str(PATH), PATH.read_text(), dialect), known)

    def _noted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*positional: Any, **named: Any) -> Any:
            self.called.append(name)
            return function(*positional, **named)

        return noted

    def _config(self) -> dict[str, Callable[..., Any]]:
        return {
            "_parse": self.settings.parse,
            "_define_string": self.settings.define("string"),
            "_define_string_list": self.settings.define("list"),
            "_define_bool": self.settings.define("bool"),
            "_set_enabled_resources": self.enabled.extend,
        }

    def _functions(self) -> dict[str, Callable[..., Any]]:
        return {
            "docker_build": self._docker_build,
            "local_resource": self._local_resource,
            "k8s_resource": self._k8s_resource,
            "k8s_yaml": self._k8s_yaml,
            "kustomize": _kustomize,
            "decode_yaml_stream": lambda rendered: list(rendering.rendered(rendered)),
            **_PLAIN,
        }

    def _docker_build(self, *positional: Any, **named: Any) -> None:
        given = _DOCKER_BUILD(*positional, **named)
        assert given["ref"] not in self.images
        self.images[given["ref"]] = given

    def _local_resource(self, *positional: Any, **named: Any) -> None:
        given = _LOCAL_RESOURCE(*positional, **named)
        assert given["name"] not in self.local, f"{given['name']} has been defined multiple times"
        assert given["cmd"] or given["serve_cmd"]
        self.local[given["name"]] = given

    def _k8s_resource(self, *positional: Any, **named: Any) -> None:
        given = _K8S_RESOURCE(*positional, **named)
        name = given["new_name"] or given["workload"]
        assert name not in self.workloads
        assert given["workload"] or given["objects"]
        forwards = given["port_forwards"]
        given["port_forwards"] = [forwards] if isinstance(forwards, dict) else forwards
        self.workloads[name] = given

    def _k8s_yaml(self, rendered: str) -> None:
        self.objects += rendering.rendered(rendered)


def words(command: str | Sequence[str]) -> list[str]:
    """Return what is run, as Tilt runs it."""
    return ["sh", "-c", command] if isinstance(command, str) else list(command)


def _written(kind: str, *needed: str, **defaults: Any) -> Callable[..., Call]:
    """Return a function that returns what it was given.

    Args:
        kind: Its name.
        needed: Parameters that have no default.
        defaults: The others, in their order.
    """

    def function(*positional: Any, **named: Any) -> Call:
        given = dict(zip((*needed, *defaults), positional, strict=False)) | named
        unknown = given.keys() - {*needed, *defaults}
        assert not unknown, f"{kind}: unexpected keyword arguments {unknown}"
        assert set(needed) <= given.keys(), f"{kind}: {needed} are needed"
        return {"is": kind, **defaults, **given}

    return function


def _kustomize(path: str) -> str:
    """Return where the manifests lie; they are rendered once, by who reads them."""
    return os.path.relpath(path, rendering.MANIFESTS)


def _os(environ: dict[str, str]) -> dict[str, Callable[..., Any]]:
    return {
        "_dirname": os.path.dirname,
        "_join": os.path.join,
        "_getenv": lambda name, default=None: environ.get(name, default),
    }


_DOCKER_BUILD = _written(
    "docker_build",
    *("ref", "context"),
    dockerfile="Dockerfile",
    only=[],
    ignore=[],
    live_update=[],
    match_in_env_vars=False,
)
_LOCAL_RESOURCE = _written(
    "local_resource",
    "name",
    cmd="",
    deps=[],
    trigger_mode=AUTO,
    resource_deps=[],
    auto_init=True,
    serve_cmd="",
    allow_parallel=False,
    links=[],
    env={},
    serve_env={},
    readiness_probe=None,
    dir="",
    serve_dir="",
    labels=[],
)
_K8S_RESOURCE = _written(
    "k8s_resource",
    workload="",
    new_name="",
    port_forwards=[],
    extra_pod_selectors={},
    trigger_mode=AUTO,
    resource_deps=[],
    objects=[],
    auto_init=True,
    pod_readiness="",
    links=[],
    labels=[],
    discovery_strategy="",
)
_PLAIN: dict[str, Callable[..., Any]] = {
    "version_settings": _written("version", check_updates=True, constraint=""),
    "analytics_settings": _written("analytics", "enable"),
    "ci_settings": _written("ci", timeout="30m"),
    "update_settings": _written("update", max_parallel_updates=3, k8s_upsert_timeout_secs=30),
    "watch_settings": _written("watch", ignore=()),
    "fall_back_on": _written("fall_back_on", "paths"),
    "sync": _written("sync", "local_path", "remote_path"),
    "run": _written("run", "cmd", trigger=()),
    "link": _written("link", "url", "name"),
    "port_forward": _written("forward", "local_port", "container_port", name="", link_path=""),
    "probe": _written(
        "probe", period_secs=10, timeout_secs=1, exec=None, http_get=None, tcp_socket=None
    ),
    "exec_action": _written("exec", "command"),
    "http_get_action": _written("http_get", "port", host="localhost", path=""),
    "tcp_socket_action": _written("tcp_socket", "port", host="localhost"),
}
