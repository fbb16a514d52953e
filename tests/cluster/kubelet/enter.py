"""Makes the namespaces of a container, builds what it sees, gives up what it may not do, becomes its command.

Run on its own (`python -IS enter.py <plan>`); imports nothing of ours. The plan is a JSON file, as
`sandbox.py` writes it. There are two processes: the outer one makes the namespaces, waits, and ends with
the exit code of the inner one (128 + signal); the inner one is process 1 of the container. Its root
is an empty file system in memory into which the image's directories are bound, read only, and the volumes
at their places; then the host's mounts are let go, so that nothing else of it can be seen, not even by
root. Then it turns into the command, which closes the plan's descriptor; if a step fails, it writes why to
that descriptor, and ends: then the command has not run. It dies with the outer one, and that with the kubelet.
"""

import ctypes
import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

_NEW_MOUNTS, _NEW_PROCESSES = 0x20000, 0x20000000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
_READ_ONLY, _REMOUNT, _NO_SUID, _NO_DEVICES, _NO_EXEC = 0x1, 0x20, 0x2, 0x4, 0x8
_DETACH = 2
_DIE_WITH_PARENT, _DROP_CAPABILITY, _SET_NO_NEW_PRIVILEGES = 1, 24, 38
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LAST_CAPABILITY = 40
# What container runtimes leave to a root user: chown, dac_override, fowner, fsetid, kill, setgid,
# setuid, setpcap, net_bind_service, net_raw, sys_chroot, audit_write, setfcap; but not mknod, since
# nothing here says which devices may be opened.
_USUAL_CAPABILITIES = frozenset((0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 29, 31))

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Read the plan and do it."""
    os.umask(0o022)
    plan: dict[str, Any] = json.loads(Path(sys.argv[1]).read_bytes())
    answer: int = plan["answer"]
    os.set_inheritable(answer, False)
    try:
        _check(_libc.unshare(_NEW_MOUNTS | _NEW_PROCESSES), "unshare")
        inner = os.fork()
        if not inner:
            _become(plan)
    except OSError as error:
        os.write(answer, str(error).encode())
        os._exit(128)
    os.close(answer)
    status = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
    os._exit(128 - status if status < 0 else status)


def _become(plan: dict[str, Any]) -> NoReturn:
    _join(plan["cgroup"])
    root = Path(plan["root"])
    _build(root, plan)
    _move_to(root)
    os.chdir(plan["workdir"])
    program = _find(plan["command"][0], plan["env"])
    _give_up(plan)
    os.execve(program, plan["command"], plan["env"])


def _join(cgroup: str | None) -> None:
    if cgroup is not None:
        Path(cgroup, "cgroup.procs").write_text("0")


def _build(root: Path, plan: dict[str, Any]) -> None:
    _mount(None, "/", None, _PRIVATE | _RECURSIVE)
    _mount("tmpfs", root, "tmpfs", _NO_SUID, "mode=0755")
    for name in ("dev", "tmp", "proc"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    early = [volume for volume in plan["mounts"] if _holds(volume["target"], plan["directories"])]
    for volume in early:
        _bind(volume["source"], root / volume["target"].lstrip("/"), read_only=False)
    targets = [volume["target"] for volume in plan["mounts"]]
    for directory in plan["directories"]:
        for part in _parts(directory, targets):
            _show(part, root / part.lstrip("/"), read_only=True)
    for device in _DEVICES:
        _bind(f"/dev/{device}", root / "dev" / device, read_only=False)
    (root / "dev/shm").mkdir()
    _mount("tmpfs", root / "dev/shm", "tmpfs", _NO_SUID | _NO_DEVICES, "mode=1777")
    _mount("proc", root / "proc", "proc", _NO_SUID | _NO_DEVICES | _NO_EXEC)
    if plan["counters"] is not None:
        _bind(plan["counters"], root / "sys/fs/cgroup/memory", read_only=True)
    for volume in (each for each in plan["mounts"] if each not in early):
        _bind(volume["source"], root / volume["target"].lstrip("/"), read_only=volume["read_only"])
    if plan["read_only_root"]:
        (root / ".host").mkdir()  # for the move, while it can still be made
        _mount(None, root, None, _REMOUNT | _BIND | _READ_ONLY)


def _holds(place: str, directories: list[str]) -> bool:
    """Say whether the image has a directory below that place: a checkout in /tmp, which is a volume."""
    return any(each.startswith(f"{place}/") for each in directories)


def _parts(directory: str, targets: list[str]) -> list[str]:
    """Return what to show of a directory: what is in it, if something is mounted there that it has not."""
    new = [each for each in targets if each.startswith(f"{directory}/") and not Path(each).exists()]
    return [entry.path for entry in os.scandir(directory)] if new else [directory]


def _show(source: str, target: Path, *, read_only: bool) -> None:
    """Show a directory of the host; what is a link there (`/bin` on Debian) is one here."""
    if os.path.islink(source):  # noqa: PTH114 - the source is a string of the plan
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(os.readlink(source))  # noqa: PTH115
    else:
        _bind(source, target, read_only=read_only)


def _bind(source: str, target: Path, *, read_only: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if Path(source).is_dir():
        target.mkdir(exist_ok=True)
    elif not target.exists():
        target.touch()
    _mount(source, target, None, _BIND | _RECURSIVE)
    if read_only:
        _mount(None, target, None, _REMOUNT | _BIND | _READ_ONLY)


def _move_to(root: Path) -> None:
    """Make it the root, and let go of the host's."""
    host = root / ".host"
    host.mkdir(exist_ok=True)
    _check(_libc.syscall(_PIVOT_ROOT[os.uname().machine], os.fsencode(root), os.fsencode(host)))
    os.chdir("/")
    _check(_libc.umount2(b"/.host", _DETACH))


def _find(program: str, env: dict[str, str]) -> str:
    """Return where the command lies.

    Raises:
        FileNotFoundError: It does not, in a runtime's words.
    """
    places = [""] if "/" in program else [f"{place}/" for place in env["PATH"].split(":")]
    for place in places:
        if os.access(place + program, os.X_OK):
            return place + program
    raise FileNotFoundError(errno.ENOENT, f'exec: "{program}": executable file not found in $PATH')


def _give_up(plan: dict[str, Any]) -> None:
    kept = frozenset[int]() if plan["drop_all"] else _USUAL_CAPABILITIES
    for capability in range(_LAST_CAPABILITY + 1):
        if capability not in kept:
            _libc.prctl(
                _DROP_CAPABILITY, capability, 0, 0, 0
            )  # one that the kernel has not: no harm
    os.setgroups(plan["groups"])
    os.setgid(plan["gid"])
    os.setuid(plan["uid"])
    _check(_libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0))  # after setuid, which forgets it
    if plan["no_new_privileges"]:
        _check(_libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def _mount(
    source: str | None, target: str | Path, kind: str | None, flags: int, options: str | None = None
) -> None:
    encoded = [None if text is None else text.encode() for text in (source, kind, options)]
    done = _libc.mount(encoded[0], os.fsencode(target), encoded[1], flags, encoded[2])
    _check(done, f"mount on {target}")


def _check(done: int, what: str = "container set-up") -> None:
    if done:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
