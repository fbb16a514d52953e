"""Processes that cost milliseconds: forked from one that has imported everything already.

`os.fork` is safe here because the forking process has one thread, no event loop and no connection:
a child inherits code and nothing that is half done. What it must not inherit (signal handlers,
the pool's sockets, its environment) is reset before the child's own code runs.

Nobody survives unseen:

- each child asks the kernel for SIGKILL at its parent's death, and looks once more whether the
  parent died before that;
- each child leads a session of its own. When it is gone, all processes of that session are killed
  while its process id is still reserved (it is reaped last), so that no recycled id is ever hit;
- the pool is their subreaper, so that what a dead worker left behind becomes the pool's child.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import shutil
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

ENTRY = "trunkline.worker_agent.__main__:run_pair"
"""What a worker runs: `f(environ) -> None`."""

Entry = Callable[[Mapping[str, str]], None]

_PRELOADED = (
    "asyncio",
    "nats",
    "nats.js",
    "msgspec",
    "obstore",
    "ssl",
    "uvloop",
    "encodings.idna",
    "trunkline.bus.connection",
    "trunkline.bus.publishing",
    "trunkline.bus.pulls",
    "trunkline.storage.packs",
    "trunkline.storage.runs",
    "trunkline.storage.trees",
)
"""Beside what the entry imports: also what is imported late, in functions."""

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_LOST_PARENT = 113
"""Exit code of a child whose parent died before it could ask for the signal."""

_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: 0


def preload(entry: str = ENTRY) -> Entry:
    """Import everything that a worker needs and return what it runs; then freeze the heap.

    Frozen objects are left alone by the collector, so that the pages stay shared with the children.
    """
    for name in _PRELOADED:
        importlib.import_module(name)
    module, _, function = entry.partition(":")
    run: Entry = getattr(importlib.import_module(module), function)
    gc.collect()
    gc.freeze()
    return run


def adopt_orphans() -> None:
    """Become the parent of what dead descendants leave behind."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def fork(
    name: str,
    run: Entry,
    environ: Mapping[str, str],
    *,
    directory: Path,
    log: int,
    let_go: Callable[[], None],
) -> int:
    """Start a child that runs `run(environ)` in `directory`; return its process id.

    Args:
        name: Shown by `ps` (its first 15 bytes).
        run: What the child does; it exits 0 once that returns, 1 with a traceback if it raises.
        environ: All of the child's environment.
        directory: Its working directory.
        log: File descriptor that takes its stdout and stderr.
        let_go: Called in the child to close what is the parent's.

    Raises:
        OSError: there is no room for another process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _become(name, parent, environ, directory, log, let_go)
        run(environ)
        code = 0
    except SystemExit as leave:
        code = _exit_code(leave)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def end_session(leader: int) -> None:
    """Kill every process of the session that a dead, not yet reaped child has led."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for _ in range(20):  # what is forked while we look is found in the next round
        members = [pid for pid in _session(leader) if pid != leader]
        if not members:
            return
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def kill_strays(known: Collection[int]) -> None:
    """Kill every child that is none of the known ones.

    With `adopt_orphans` these are what a dead worker's commands have left: processes in sessions of
    their own, which `end_session` does not find. Their children come to us when they are dead.
    """
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    with contextlib.suppress(OSError):  # only Linux tells
        for word in path.read_text().split():
            if int(word) not in known:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(word), signal.SIGKILL)


def remove_trees(directory: Path, prefix: str, let_go: Callable[[], None]) -> int:
    """Start a child that removes the directories that begin with the prefix; return its id."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    path = directory
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        let_go()
        if os.getppid() == parent:
            for path in directory.glob(f"{prefix}*"):
                shutil.rmtree(path, onerror=_unlock)
    except RecursionError:  # a command made a thousand levels; the next call goes on
        os.execv("/bin/rm", ["rm", "-rf", "--", os.fspath(path)])  # noqa: S606 - our own path
    finally:
        os._exit(0)


def threads() -> int:
    """Return how many threads this process has: more than one, and it must not fork."""
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 1


def _become(
    name: str,
    parent: int,
    environ: Mapping[str, str],
    directory: Path,
    log: int,
    let_go: Callable[[], None],
) -> None:
    """Make the forked copy a process of its own."""
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    if os.getppid() != parent:
        os._exit(_LOST_PARENT)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    let_go()
    os.closerange(3, _highest_descriptor() + 1)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = [name]


def _exit_code(leave: SystemExit) -> int:
    if leave.code is None:
        return 0
    if isinstance(leave.code, int):
        return leave.code & 0xFF
    sys.stderr.write(f"{leave.code}\n")
    return 1


def _highest_descriptor() -> int:
    try:
        return max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    except (OSError, ValueError):
        return 1024


def _session(leader: int) -> list[int]:
    """Return the processes of a session that are not dead."""
    found = []
    for entry in Path("/proc").iterdir() if sys.platform == "linux" else ():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] not in (b"Z", b"X"):
            found.append(int(entry.name))
    return found


def _unlock(function: Callable[..., object], path: str, _error: object) -> None:
    """Remove what a user's command made unwritable; what stays is tried again at the next start."""
    with contextlib.suppress(OSError):
        for each in (Path(path).parent, Path(path)):
            if not each.is_symlink():
                each.chmod(stat.S_IRWXU)
        function(path)
