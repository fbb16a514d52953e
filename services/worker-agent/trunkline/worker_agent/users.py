"""Users by name or number: whom a command runs as, and how a process becomes that one."""

import contextlib
import errno
import grp
import os
import pwd
from collections.abc import Iterator
from typing import NamedTuple


class User(NamedTuple):
    """Whom a command runs as."""

    uid: int
    gid: int


def find(wanted: str) -> User | None:
    """Return a user by `name` or `uid`, either with `:group` or `:gid` behind it; None: we ourselves.

    A uid that nobody knows has group 0 if none is said, as container engines have it.

    Raises:
        FileNotFoundError: there is no such user or group.
    """
    if not wanted:
        return None
    name, colon, group = wanted.partition(":")
    number = _number(name)
    try:
        known = pwd.getpwnam(name) if number is None else pwd.getpwuid(number)
        user = User(known.pw_uid, known.pw_gid)
    except KeyError:
        if number is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
        user = User(number, 0)
    if colon:
        user = user._replace(gid=_group(group))
    return None if user == (os.getuid(), os.getgid()) else user


def become(user: User) -> None:
    """Make this process another user, with the groups that it has beside its own, but root's.

    Raises:
        OSError: we may not.
    """
    os.setgroups([each for each in os.getgroups() if each != 0])
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


@contextlib.contextmanager
def with_rights_of(user: User | None) -> Iterator[None]:
    """Have no more rights than another user's process for a block; None: no other ones.

    Real and saved ids stay ours, so no process of that user may signal or look into this one meanwhile.

    Raises:
        OSError: we may not.
    """
    if user is None:
        yield
        return
    groups, gid, uid = os.getgroups(), os.getegid(), os.geteuid()
    try:
        os.setgroups([each for each in groups if each != 0])
        os.setegid(user.gid)
        os.seteuid(user.uid)
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        if os.getgroups() != groups:
            os.setgroups(groups)


def _group(name: str) -> int:
    number = _number(name)
    if number is not None:
        return number
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None


def _number(text: str) -> int | None:
    """Return a number below 2^32 - 1, which stands for no user; None if it is none."""
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text[:11])
    return number if number < 0xFFFFFFFF else None
