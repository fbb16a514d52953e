"""What sampled call stacks say: how much of the time was spent for what, and in which module.

A sample belongs to the innermost frame that a rule knows. So what the event loop or the kernel does
for somebody is that one's: sending a message is the NATS client's, writing a file the store's. What
is outside of the loop that runs it all is not looked at, and where no rule matches inside, it is
the loop's own. A thread that waits does nothing, and is left out.
"""

import collections
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Stack = Sequence[str]
"""Frames, the outermost first."""

OTHER, LOOP = "other", "the loop itself"

_PYTHON = (
    (r"msgspec/|json/", "JSON"),
    (r"nats/|trunkline/bus/", "client (NATS)"),
    (r"trunkline/storage/|obstore/|trunkline/worker_agent/files", "store"),
    (
        r"trunkline/worker_agent/(commands|environment|link|linux|printing|process|protocol|shim)",
        "spawn",
    ),
    (r"trunkline/worker_agent/", "lease and datum"),
    (r"trunkline/(coordinator|contracts)/", "jobs"),
)
_SERVER = (
    (r"\(\*(fileStore|msgBlock|memStore|consumerFileStore)\)|writeAtomically", "store"),
    (r"\(\*(consumer|waitQueue)\)", "consumers"),
    (r"\(\*(stream|jetStream|jsAccount|batching)", "streams"),
    (r"\(\*(client|outbound|Account|Sublist)\)", "connections and routing"),
    (r"server\.", "the rest of the server"),
)
_RUNTIME = (
    (r"runtime\.(gc|bg|scanobject|markroot|sweep)", "garbage collection"),
    (r"runtime\.", "scheduling"),
)

_WAITING = re.compile(
    r"(epoll_p?wait|poll|select|pthread_cond_\w+|futex\w*|accept4?|(clock_)?nanosleep|sem_\w+|wait(id|pid|4))\b"
)
_UNKNOWN_LIBC = re.compile(r"0x[0-9a-f]+ \(.*libc")
"""Where the threads of a pool wait: not on a name that is exported."""
_LOOP_RUNS = re.compile(r"(uv_run|run_forever) ")
_PLACE = re.compile(r"\(([^()]+?)(:\d+)?\)$")
_PACKAGE = re.compile(r".*(?:/site-packages/|/python3\.\d+/|(?=/trunkline/)/)(.+)")
_LOOPS_OWN = re.compile(r"asyncio/|uvloop/|selectors")


@dataclass(frozen=True)
class Shares:
    """Shares of all samples, the largest first."""

    samples: int
    by_purpose: dict[str, float]
    by_module: dict[str, float]
    by_function: dict[str, float]


def of_python(raw: str) -> Shares:
    """Return what py-spy's raw format says: a line for each stack, and how often it was seen.

    Frames are `name (/path/of/the/file:line)`.
    """
    purposes: collections.Counter[str] = collections.Counter()
    modules: collections.Counter[str] = collections.Counter()
    functions: collections.Counter[str] = collections.Counter()
    for line in raw.splitlines():
        told, _, count = line.rpartition(" ")
        frames = told.split(";")
        if _WAITING.match(frames[-1]) or _UNKNOWN_LIBC.match(frames[-1]):
            continue
        named = [(name, frame) for frame in _inside(frames) if (name := module(frame))]
        own = [each for each in named if not _LOOPS_OWN.match(each[0])]
        name, frame = (own or named or [(OTHER, OTHER)])[-1]
        purpose = _purpose([each[0] for each in own], _PYTHON, LOOP if named else OTHER)
        purposes[purpose] += int(count)
        modules[name] += int(count)
        functions[f"{frame.partition(' ')[0]} ({name})"] += int(count)
    return _shares(purposes, modules, functions)


def of_server(script: str) -> Shares:
    """Return what `perf script -F ip,sym` says: a block for each sample, innermost frame first."""
    purposes: collections.Counter[str] = collections.Counter()
    functions: collections.Counter[str] = collections.Counter()
    holders: collections.Counter[str] = collections.Counter()
    for block in script.split("\n\n"):
        lines = [line.split(maxsplit=1) for line in block.splitlines()]
        frames = [line[1].rpartition("/")[2] for line in reversed(lines) if len(line) == 2]
        if frames:
            # What Go's runtime does for a function of the server is that function's.
            purposes[_purpose(frames, _SERVER, "") or _purpose(frames, _RUNTIME, OTHER)] += 1
            own = [each for each in frames if each.startswith("server.")] or frames
            functions[own[-1]] += 1
            holders[own[-1].rpartition(".")[0] or own[-1]] += 1
    return _shares(purposes, holders, functions)


def module(frame: str) -> str | None:
    """Return the file of a frame as its package names it; None for what is no Python."""
    place = _PLACE.search(frame)
    if place is None:
        return None
    if "/libuv" in place[1] or "/uvloop/" in place[1]:
        return "uvloop/"
    if "/include/" in place[1]:
        return None
    package = _PACKAGE.match(place[1])
    return package[1] if package else None


def _inside(frames: Stack) -> Stack:
    """Return what the innermost loop runs; all of it where there is no loop."""
    for number in range(len(frames) - 1, -1, -1):
        if _LOOP_RUNS.match(frames[number]):
            return frames[number:]
    return frames


def _purpose(names: Stack, rules: Iterable[tuple[str, str]], default: str) -> str:
    for name in reversed(names):
        for pattern, purpose in rules:
            if re.search(pattern, name):
                return purpose
    return default


def _shares(*counts: collections.Counter[str]) -> Shares:
    whole = counts[0].total()
    purposes, modules, functions = (
        {name: count / whole for name, count in each.most_common()} for each in counts
    )
    return Shares(whole, purposes, modules, functions)
