"""Show a worker's own directory as `/pfs`, without touching the machine's `/`.

Several workers share one machine, and each one's command is to see its own `/pfs`. The shim, and so
everything that it starts, moves into a mount namespace of its own:

1. As root: a new mount namespace. Otherwise: a new user namespace (in which one is oneself, and
   nobody else) and a mount namespace in it. All mounts become private: nothing gets out.
2. `/pfs` is there as a directory: the worker's directory is bound onto it. Otherwise a new root is
   put together: an empty memory file system with each entry of `/` bound (or, a symbolic link,
   copied) into it, and `/pfs`; then the process pivots into it.

The agent stays outside and works on the same directory by its ordinary path; what it renames there
appears in `/pfs` at once. Where a kernel or a container's profile refuses one of these steps, the
shim stays where it is and says so: commands then find the files below `$PFS` only. A step that fails
half-way leaves a namespace that nobody else sees, and the process goes on in it.

Further directories (secrets) can be shown there later. A place for one is made only in the root that was put
together here, never on the machine: elsewhere the directory must be there.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path

from trunkline.worker_agent import linux

MOUNT_POINT = "/pfs"

_TMPFS = "trunkline"
"""What the root that is put together here is called among the mounts."""
_KEPT = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC | linux.MS_NOATIME | linux.MS_NODIRATIME
_ST_RELATIME = 4096
"""In `statvfs`; the other flags have the same value there as for `mount`."""


def present(directory: Path, spare: Path) -> str:
    """Move this process into a mount namespace where `directory` is `/pfs`.

    Args:
        directory: What is to be seen as `/pfs`.
        spare: An empty directory of this worker that a new root may be mounted on.

    Returns:
        An empty text, or why it cannot be done here.
    """
    try:
        _enter()
        if stat.S_ISDIR(_mode(MOUNT_POINT)):
            linux.mount(str(directory), MOUNT_POINT, "", linux.MS_BIND | linux.MS_REC)
        else:
            _new_root(directory, spare)
    except OSError as error:
        return str(error)
    return ""


def show(directory: str, path: str) -> None:
    """Let this process and its children see a directory at a path, read-only.

    Only after `present`. What lies at the path, if anything does, is not seen any more.

    Raises:
        FileNotFoundError: There is no such directory, and none is made on the machine.
        OSError: It cannot be done.
    """
    place = os.path.realpath(path)
    if place == "/" or Path(place).is_relative_to(MOUNT_POINT):
        raise OSError(errno.EINVAL, "it would cover what commands need", path)
    if not Path(place).exists():
        _make(Path(place))
    elif not Path(place).stat().st_nlink:
        # one that was shown there and has been removed since: nothing can be mounted on it
        linux.unmount(place, linux.MNT_DETACH)
    linux.mount(directory, place, "", linux.MS_BIND)
    # in a user namespace the flags that a mount has cannot be taken away
    kept = os.statvfs(place).f_flag
    flags = kept & _KEPT | (linux.MS_RELATIME if kept & _ST_RELATIME else 0)
    linux.mount("", place, "", linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | flags)


def _make(place: Path) -> None:
    """Make a directory in the root that `_new_root` has put together."""
    above = next(each for each in place.parents if each.exists())
    own = f"{_TMPFS} / tmpfs " in Path("/proc/self/mounts").read_text(errors="surrogateescape")
    if not own or above.stat().st_dev != Path("/").stat().st_dev:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
    linux.mount("", "/", "", linux.MS_REMOUNT)
    try:
        place.mkdir(parents=True)
    finally:
        linux.mount("", "/", "", linux.MS_REMOUNT | linux.MS_RDONLY)


def _enter() -> None:
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        linux.unshare(linux.CLONE_NEWNS)
    else:
        linux.set_dumpable(True)  # or /proc/self/uid_map belongs to root
        linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)


def _new_root(directory: Path, spare: Path) -> None:
    here = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    linux.mount(_TMPFS, str(spare), "tmpfs", 0, "mode=0755,size=1m")
    with os.scandir("/") as entries:
        for entry in entries:
            if entry.path != MOUNT_POINT:
                with contextlib.suppress(OSError):  # what cannot be bound is not there: not ours
                    _bring(entry, spare / entry.name)
    place = spare / MOUNT_POINT.lstrip("/")
    place.mkdir()
    linux.mount(f"/proc/self/fd/{here}", str(place), "", linux.MS_BIND | linux.MS_REC)
    os.close(here)
    os.chdir(spare)
    try:
        linux.pivot_root(".", ".")
    except OSError:  # the root of an initial ram disk cannot be left that way
        os.chroot(".")
    else:
        linux.unmount(".", linux.MNT_DETACH)
    os.chdir("/")
    with contextlib.suppress(OSError):  # the copy of the new root that came along with its place
        linux.unmount(str(spare), linux.MNT_DETACH)
    with contextlib.suppress(OSError):  # better an error than a file in `/` that nobody ever sees
        linux.mount("", "/", "", linux.MS_REMOUNT | linux.MS_RDONLY)


def _bring(entry: os.DirEntry[str], place: Path) -> None:
    if entry.is_symlink():
        place.symlink_to(Path(entry.path).readlink())
        return
    if entry.is_dir(follow_symlinks=False):
        place.mkdir()
    else:
        place.touch()
    linux.mount(entry.path, str(place), "", linux.MS_BIND | linux.MS_REC)


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0
