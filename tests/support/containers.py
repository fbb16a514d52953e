"""A container of its own for a process: pid and mount namespaces, and a root that holds what it was given.

    python -m tests.support.containers <root> <command>...

runs the command as the first process of such a container, whose root cannot be written to but where the
test has made a directory `open`; it needs root or user namespaces. The process that was started waits and
ends with the same code; its only child is the container's first process.
"""

import os
import signal
import sys
from pathlib import Path

from trunkline.worker_agent import linux

_CLONE_NEWPID = 0x20000000
_PR_SET_PDEATHSIG = 1


def main(root: str, argv: list[str]) -> int:
    """Run a command in a new container and return its exit code."""
    _leave()
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    linux.mount(root, root, "", linux.MS_BIND)
    for each in ("open", "run"):
        linux.mount(f"{root}/{each}", f"{root}/{each}", "", linux.MS_BIND)
    pid = os.fork()
    if pid == 0:
        linux._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        linux.mount("", root, "", linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)
        os.chdir(root)
        linux.pivot_root(".", ".")
        linux.unmount(".", linux.MNT_DETACH)
        os.chdir("/")
        os.execve(argv[0], argv, {"OF_THE_IMAGE": "yes", "PATH": "/bin"})
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF


def _leave() -> None:
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        linux.unshare(linux.CLONE_NEWNS | _CLONE_NEWPID)
        return
    linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS | _CLONE_NEWPID)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
