"""Links in a datum's output that lead out of its files: into the image, say, or into `/tmp`.

What they lead to is of the command's world: its mount namespace, its user's rights. So the shim opens
it, as that user, and what comes over the line is looked at here, since a descriptor is what it is,
whatever its name may mean by now: a regular file on a file system that holds files, or it is refused.

What lies elsewhere the next command may write to, so where there is such a link the output is stored
before another datum runs (`execution.Ran.tied`). By then the datum's own directories are out of /pfs: a
link elsewhere that leads back there finds nothing, and never the files of another datum.
"""

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from trunkline.contracts import errors
from trunkline.storage.links import Elsewhere, Roots
from trunkline.worker_agent import linux
from trunkline.worker_agent.link import Link

_KERNEL_S_OWN = ("proc", "sys", "dev")
"""Top directories in which files are not contents but what the kernel says of the moment."""
_NO_FILES = {
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x1CD1: "devpts",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0x73636673: "securityfs",
    0x62656570: "configfs",
    0x27E0EB: "cgroup",
    0x63677270: "cgroup2",
}
"""File systems of that kind, by their magic numbers (linux/magic.h): a link's way may be long."""
_PASSES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""What is the machine's fault, and not the file's."""


class Opener:
    """Has files opened by the shim; see `storage.reaching.Reach`."""

    def __init__(self, link: Link, user: str) -> None:
        """Ask this shim, for this user; see `protocol.Recipe`."""
        self._link, self._user = link, user

    async def open(self, found: Elsewhere) -> BinaryIO:
        """Return the regular file that a link leads to, open.

        Raises:
            InvalidPathError: It is none, or not there, or not the command's to read.
            OSError: This machine has not the means now.
            ShimLostError: nobody is there to open it.
        """
        if posixpath.normpath(found.target).split("/")[1] in _KERNEL_S_OWN:
            raise _refused(found, "no file that holds anything")
        try:
            number = await self._link.open(found.target, user=self._user)
        except OSError as error:
            if error.errno in _PASSES:
                raise
            raise _refused(found, f"which cannot be opened: {error.strerror}") from error
        try:
            _check(found, number)
        except BaseException:
            os.close(number)
            raise
        return os.fdopen(number, "rb", buffering=0)


def _check(found: Elsewhere, number: int) -> None:
    kind = os.fstat(number).st_mode
    if stat.S_ISDIR(kind):
        raise _refused(found, "a directory: out there only links to files are followed")
    if not stat.S_ISREG(kind):
        raise _refused(found, "no regular file")
    if (system := linux.file_system(number)) in _NO_FILES:
        raise _refused(found, f"no file that holds anything ({_NO_FILES[system]})")


def _refused(found: Elsewhere, why: str) -> errors.InvalidPathError:
    return errors.InvalidPathError(found.path, f"it is a link to {found.target!r}, {why}")


def leads_there(directory: str, views: Callable[[], Mapping[str, Path]]) -> bool:
    """Whether a link in a directory may lead elsewhere; what cannot be looked at may.

    So may a link to a directory, whatever it is: another link may be in that. Most outputs are a few
    files in one directory, of which this reads the names.

    Args:
        directory: Where to look.
        views: Gives the datum's directories, as for `Roots`, once there is a link.
    """
    waiting, roots = [directory], None
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        roots = roots or Roots(views(), foreign=True)
                        if _may_lead_there(entry, folder, roots):
                            return True
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            return True
    return False


def _may_lead_there(entry: os.DirEntry[str], folder: str, roots: Roots) -> bool:
    try:
        real = roots.real(entry.name, folder, os.readlink(entry.path))  # noqa: PTH115
    except errors.InvalidPathError:
        return False  # which is told when it is stored
    return isinstance(real, Elsewhere) or Path(real).is_dir()
