"""A pod's volumes, as directories: emptyDir, secret, configMap, downwardAPI, projected, hostPath, and claims of local volumes.

Secrets and config maps lie as a kubelet lays them: the files in a directory with a name of its own, a link `..data` to
it, and a link through that for each key. A new content is a new directory, then one rename of `..data`: a
reader sees all of the old or all of the new.
"""

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.kubelet import configuration
from tests.cluster.kubelet.configuration import ConfigurationError, Known, MissingError
from tests.cluster.kubelet.sandbox import Mount
from tests.cluster.kubelet.statuses import Object

_CONTENTS = {"secret": "secret", "configMap": "configmap"}


class UnknownVolumeError(ConfigurationError):
    """A volume is of a kind that is none of those above."""

    def __init__(self, volume: Object) -> None:
        super().__init__(f"a volume is of a kind not known here: {volume}")


def lay_out(pod: Object, directory: Path, known: Known) -> dict[str, Path]:
    """Make all volumes of a pod, or bring them up to date; return where each lies, by its name.

    Raises:
        ConfigurationError: What one of them is to hold is missing, or it is of a kind not known here.
    """
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return {
        volume["name"]: _lay_out(volume, pod, directory / volume["name"], group, known)
        for volume in pod["spec"].get("volumes", [])
    }


def mounts(container: Object, laid: Mapping[str, Path]) -> list[Mount]:
    """Return what a container sees of its pod's volumes, outer places first."""
    found = [
        Mount(
            source=str(laid[mount["name"]] / mount.get("subPath", "")),
            target=mount["mountPath"],
            read_only=bool(mount.get("readOnly")),
        )
        for mount in container.get("volumeMounts", [])
    ]
    return sorted(found, key=lambda mount: mount.target.count("/"))


def _lay_out(volume: Object, pod: Object, directory: Path, group: int | None, known: Known) -> Path:
    if "hostPath" in volume:
        return Path(volume["hostPath"]["path"])
    if "persistentVolumeClaim" in volume:
        return _claimed(volume["persistentVolumeClaim"]["claimName"], group, known)
    if "emptyDir" in volume:
        if not directory.exists():
            _make_empty(directory, group)
        return directory
    sources = volume["projected"]["sources"] if "projected" in volume else [volume]
    files: dict[str, bytes] = {}
    for source in sources:
        files |= _files(source, pod, known)
    _write(directory, files, _mode(volume), group)
    return directory


def _claimed(claim: str, group: int | None, known: Known) -> Path:
    """Return where the volume of a claim lies; it is its group's from then on."""
    held = known.get((configuration.CLAIM, claim))
    if held is None:
        raise MissingError("persistentvolumeclaim", claim)
    path = Path(held[configuration.CLAIM].decode())
    if group is not None:
        os.chown(path, -1, group)
        path.chmod(0o2770)
    return path


def _files(source: Object, pod: Object, known: Known) -> dict[str, bytes]:
    """Return the files of a volume, or of one part of a projected one."""
    for kind, what in _CONTENTS.items():
        if kind in source:
            said = source[kind]
            name = said.get("secretName") or said["name"]
            held = known.get((what, name))
            if held is None and not said.get("optional"):
                raise MissingError(what, name)
            return _chosen(held or {}, said.get("items"))
    if "serviceAccountToken" in source:
        account = configuration.account(pod)
        if (configuration.TOKEN, account) not in known:
            raise MissingError("serviceaccount", account)
        path = source["serviceAccountToken"]["path"]
        return {path: known[configuration.TOKEN, account][configuration.TOKEN]}
    if "downwardAPI" in source:
        return {
            item["path"]: configuration.field(item["fieldRef"]["fieldPath"], pod).encode()
            for item in source["downwardAPI"]["items"]
        }
    raise UnknownVolumeError(source)


def _mode(volume: Object) -> int:
    kinds = (
        volume[kind]
        for kind in ("projected", "secret", "configMap", "downwardAPI")
        if kind in volume
    )
    return int(next(kinds).get("defaultMode", 0o644))


def _make_empty(directory: Path, group: int | None) -> None:
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    if group is not None:
        os.chown(directory, -1, group)
        directory.chmod(0o2777)


def _chosen(held: Mapping[str, bytes], items: list[Object] | None) -> dict[str, bytes]:
    if items is None:
        return dict(held)
    return {item["path"]: held[item["key"]] for item in items}


def _write(directory: Path, files: Mapping[str, bytes], mode: int, group: int | None) -> None:
    current = directory / "..data"
    if current.exists() and _read(current) == files:
        return
    version = directory / f"..{uuid.uuid4().hex[:12]}"
    version.mkdir(parents=True)
    for name, content in files.items():
        path = version / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        if group is not None:
            os.chown(path, -1, group)
            path.chmod(mode | 0o440)  # as a kubelet does for what belongs to a group
    old = current.readlink() if current.is_symlink() else None
    fresh = directory / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.rename(current)
    for top in {name.partition("/")[0] for name in files}:
        if not (directory / top).is_symlink():
            (directory / top).symlink_to(f"..data/{top}")
    if old is not None:
        shutil.rmtree(directory / old)


def _read(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}
