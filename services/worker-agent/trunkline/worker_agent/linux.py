"""The system calls that Python 3.11 does not have, by ctypes; each raises OSError.

Used by the shim and before it, too: no asyncio, nothing of ours.
"""

import ctypes
import os
import signal
from collections.abc import Iterable
from typing import NamedTuple

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_RELATIME = 1 << 21
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_SFD_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_TFD_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_CLOCK_MONOTONIC = 1
_SIGSET_BYTES = 128
_SIGINFO_BYTES = 128
_STATFS_LONGS = 32
"""More than a `struct statfs` has; its first one is the kind."""
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}


class SignalInfo(NamedTuple):
    """A signal that was taken from a signal descriptor."""

    number: int
    sender: int
    """Process id as this process sees it; 0 for a sender outside its pid namespace."""


def signal_fd(numbers: Iterable[signal.Signals]) -> int:
    """Return a non-blocking descriptor that gives these signals, which are blocked from now on."""
    chosen = set(numbers)
    signal.pthread_sigmask(signal.SIG_BLOCK, chosen)
    bits = sum(1 << (number - 1) for number in chosen)
    mask = (ctypes.c_ubyte * _SIGSET_BYTES)(*bits.to_bytes(_SIGSET_BYTES, "little"))
    return _checked(_libc.signalfd(-1, ctypes.byref(mask), _SFD_FLAGS), "signalfd")


def read_signals(descriptor: int) -> list[SignalInfo]:
    """Return what a signal descriptor has, at least the first of it."""
    try:
        data = os.read(descriptor, 8 * _SIGINFO_BYTES)
    except BlockingIOError:
        return []
    return [_signal_info(data[at:]) for at in range(0, len(data), _SIGINFO_BYTES)]


def timer_fd() -> int:
    """Return a non-blocking descriptor that can be read once the time of `set_timer` is over."""
    return _checked(_libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS), "timerfd_create")


def set_timer(descriptor: int, seconds: float) -> None:
    """Let a timer's descriptor be readable after so many seconds, more than 0, once."""
    whole = int(seconds)
    once = (ctypes.c_long * 4)(0, 0, whole, int((seconds - whole) * 1e9))
    _checked(_libc.timerfd_settime(descriptor, 0, ctypes.byref(once), None), "timerfd_settime")


def _signal_info(data: bytes) -> SignalInfo:
    number = int.from_bytes(data[0:4], "little")
    return SignalInfo(number, int.from_bytes(data[12:16], "little"))


def become_subreaper() -> None:
    """Let descendants whose parent ends become children of this process, not of init."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def set_dumpable(dumpable: bool) -> None:
    """Let processes of the same user look into this one (/proc/<pid>, ptrace), or not."""
    _checked(_libc.prctl(_PR_SET_DUMPABLE, int(dumpable), 0, 0, 0), "prctl")


def file_system(descriptor: int) -> int:
    """Return the magic number of the file system that an open file lies in (statfs(2))."""
    answer = (ctypes.c_long * _STATFS_LONGS)()
    _checked(_libc.fstatfs(descriptor, ctypes.byref(answer)), "fstatfs")
    return answer[0] & 0xFFFFFFFF


def unshare(flags: int) -> None:
    """Leave namespaces; the process must have one thread."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Mount a file system, or bind a directory or file."""
    answer = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode(),
    )
    _checked(answer, "mount", target)


def unmount(target: str, flags: int = 0) -> None:
    """Take a mount away."""
    _checked(_libc.umount2(os.fsencode(target), flags), "umount", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make a mount the root of this process's mount namespace."""
    number = _SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(38, "pivot_root: number of the system call not known on this machine")
    answer = _libc.syscall(ctypes.c_long(number), os.fsencode(new_root), os.fsencode(put_old))
    _checked(answer, "pivot_root", new_root)


def _checked(answer: int, call: str, path: str | None = None) -> int:
    if answer >= 0:
        return int(answer)
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}", path)
