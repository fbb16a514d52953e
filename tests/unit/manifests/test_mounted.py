"""What a container is told to read or write is there: each path of its words and of the files mounted into it."""

import fnmatch
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from tests.support import dashboards, rendering
from tests.support.rendering import Object

OVERLAYS = ("overlays/dev", "overlays/prod", "../tilt/overlay")
OF_THE_IMAGE = frozenset({"/opt/trunkline/."})
"""What is copied out of an image into a volume."""
_PATH = re.compile(r"""(?<![\w:/.\-}`)])/[\w*][\w./*-]*""")
_INCLUDE = re.compile(r"^\s*include (\S+)", re.MULTILINE)


class Mounts:
    """What a container finds on its mounts.

    Args:
        container: Of a pod's spec.
        volumes: The pod's, by name; one that is claimed by a template is not among them.
        maps: Data of ConfigMaps by name.
    """

    def __init__(
        self, container: Object, volumes: dict[str, Object], maps: dict[str, dict[str, str]]
    ) -> None:
        self.files: dict[str, str] = {}
        """Path -> contents, of ConfigMaps."""
        self.open: list[str] = []
        """Mounts whose contents no manifest says: secrets, and what can be written to."""
        for mount in container.get("volumeMounts", []):
            self._mount(mount["mountPath"], volumes.get(mount["name"], {}), maps)

    def _mount(self, at: str, volume: Object, maps: dict[str, dict[str, str]]) -> None:
        for source in volume.get("projected", {}).get("sources", [volume]):
            if "configMap" not in source:
                self.open.append(at)
                continue
            data = maps[source["configMap"]["name"]]
            items = source["configMap"].get("items")
            places = (
                {each["path"]: each["key"] for each in items}
                if items
                else {key: key for key in data}
            )
            self.files |= {f"{at}/{path}": data[key] for path, key in places.items()}

    def has(self, path: str) -> bool:
        """Return whether a path, or one that fits it, is on a mount; a directory is where it has files."""
        below = [each for each in self.open if path == each or path.startswith(f"{each}/")]
        found = any(
            fnmatch.fnmatch(file, path) or file.startswith(f"{path}/") for file in self.files
        )
        return found or bool(below)


def told(container: Object, mounts: Mounts) -> Iterator[tuple[str, str]]:
    """Yield who names a path, and the path: the container's words, and text that is mounted."""
    words = [*container.get("command", []), *container.get("args", [])]
    words += [each.get("value", "") for each in container.get("env", [])]
    yield from (("its words", path) for word in words for path in _PATH.findall(word))
    for file, text in mounts.files.items():
        if file.endswith((".json", ".py")):
            continue  # dashboards have addresses of pages, and programs are tried by running them
        plain = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
        yield from ((file, path) for path in _PATH.findall(plain))
        beside = PurePosixPath(file).parent
        yield from ((file, str(beside / each)) for each in _INCLUDE.findall(plain))


def containers(overlay: str) -> Iterator[tuple[str, Object, Mounts]]:
    """Yield all containers with what they mount."""
    objects = rendering.rendered(overlay)
    maps: dict[str, Any] = {
        each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"
    }
    for each in objects:
        spec = each.get("spec", {}).get("template", {}).get("spec", {})
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for container in (*spec.get("initContainers", []), *spec.get("containers", [])):
            name = f"{each['metadata']['name']}/{container['name']}"
            yield name, container, Mounts(container, volumes, maps)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_path_that_a_container_is_told_is_on_one_of_its_mounts(overlay):
    missing = [
        f"{name}: {path}, named by {by}"
        for name, container, mounts in containers(overlay)
        for by, path in told(container, mounts)
        if path not in OF_THE_IMAGE and not mounts.has(path)
    ]
    assert missing == []


def test_rules_and_dashboards_are_among_what_is_looked_at():
    """The test above says nothing of what it does not see."""
    seen = {
        (name.rpartition("/")[2], path)
        for name, container, mounts in containers("overlays/dev")
        for _, path in told(container, mounts)
    }
    assert {
        ("prometheus", "/etc/prometheus/rules/*.yaml"),
        ("prometheus", "/etc/prometheus/prometheus.yaml"),
        ("grafana", "/var/lib/dashboards"),
        ("nats", "/etc/nats/cluster.conf"),
        ("nats", "/etc/nats/resolver.conf"),
        ("nats", "/run/nats/nats.pid"),
    } <= seen


def test_a_path_beside_all_mounts_is_found():
    volume = {"name": "rules", "configMap": {"name": "alerts"}}
    container = {
        "args": ["--config.file=/etc/p/p.yaml"],
        "volumeMounts": [{"name": "rules", "mountPath": "/etc/p"}],
    }
    mounts = Mounts(container, {"rules": volume}, {"alerts": {"p.yaml": "rules: [/etc/r/*.yaml]"}})
    paths = [path for _, path in told(container, mounts)]
    assert paths == ["/etc/p/p.yaml", "/etc/r/*.yaml"]
    assert [mounts.has(path) for path in paths] == [True, False]


def test_dashboards_find_the_data_source_that_is_mounted():
    """They name none, and let one choose among those of their kind: the default is chosen."""
    grafana = next(mounts for name, _, mounts in containers("overlays/dev") if "grafana" in name)
    given = yaml.safe_load(grafana.files["/etc/grafana/provisioning/datasources/trunkline.yaml"])
    (source,) = given["datasources"]
    assert source["isDefault"]
    for board in dashboards.read().values():
        kinds = {each["name"]: each["query"] for each in board["templating"]["list"]}
        assert kinds["source"] == source["type"]
