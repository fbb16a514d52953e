"""Frames between the agent and the shim, over one unix stream socket.

The agent holds the credentials and decides; the shim holds nothing, lives next to the user's code
and does what needs to be there: it starts commands, signals them, reaps them. There are two, `shim`
and a static one in C (services/worker-agent/shim), and the agent does not know which one it talks
to; what both must know is here, and the header of the C one is made from it. All integers are
little-endian.

    u32 length | u8 type | u32 id | payload        length = 5 + len(payload)

`id` is chosen by the agent and comes back in the answer; 0 where there is nothing to answer. A
string is UTF-8 (or whatever bytes the file system has) and ends in NUL. A frame of an unknown type
is skipped; one over FRAME_MAX_BYTES or too short for its type ends the connection.

| type | agent -> shim | shim -> agent |
|---|---|---|
| 1 | SPAWN: u32 recipe, u32 envc, envc strings `K=V` | NOT STARTED: i32 errno, i32 step: why there is no process, and what was to be done |
| 2 | KILL: u32 signal, to the whole process group of `id`'s command | EXITED: 10 x i64: wait status, wall microseconds, user microseconds, system microseconds, peak resident KiB (0: not known), major faults, blocks in, blocks out, OOM kills in the container (-1: not known), processes that it left and that could not be killed |
| 3 | - | TERM: the shim was told to stop (SIGTERM); it goes on until BYE |
| 4 | BYE: kill what runs and exit with 0 | - |
| 5 | CHMOD: string path; give owner and group of everything below it access | CHMODDED: i32 errno, i32 entries |
| 6 | OPEN: u32 flags, string path, string user, with whose rights it is opened, as in RECIPE; O_NONBLOCK and O_NOCTTY are added | OPENED: i32 errno, i32 0; one descriptor if it is 0 |
| 7 | RECIPE, kept as number `id` (below 16) in place of an older one: u32 flags, u32 umask, string cwd, string user, u32 argc, argc strings, u32 envc, envc strings `K=V`; three descriptors by SCM_RIGHTS with its first byte: stdin, stdout, stderr | - |
| 8 | MOUNT: string directory, string path; show that directory at that path, read-only. For a local worker's shim only | MOUNTED: i32 errno, i32 0 |
| 9 | - | HELLO: u32 version, u32 uid, u32 gid, u32 flags; the first frame |

A life: HELLO; then RECIPEs, and any number of SPAWN -> (KILL)* -> EXITED. All of a job's commands are
started by one recipe, each with a few variables of its own, which win over the recipe's. They get
*the same* three open files, one after the other: the agent rewinds the first and resets the flags of
the others before it asks for the next one. To SPAWN there is one answer, at the end: a frame that
only says that a command runs would wake the agent for nothing.

EXITED is sent when the command's leader has ended *and* its process group and all other descendants
are killed and reaped: nothing writes to /pfs or to the descriptors any more. Where some could not be
killed within some seconds it says so, and the agent gives those descriptors to nobody else. A SPAWN
by a recipe that is not there ends the connection.

End of file at the shim (the agent is gone): it kills all it has started; then it exits, or waits
for a new agent where one will come (in a pod, where each exit costs a container restart). End of
file at the agent (the shim is gone): everything that ran there is lost.
"""

import array
import enum
import os
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

VERSION = 4

RECIPES = 16
"""How many a shim keeps."""

FRAME_MAX_BYTES = 16 * 1024 * 1024
"""More than any command line and environment that a kernel takes."""

_HEADER = struct.Struct("<IBI")
_U32 = struct.Struct("<I")
_PAIR = struct.Struct("<ii")
EXITED_FIELDS = 10
_EXITED = struct.Struct(f"<{EXITED_FIELDS}q")
_HELLO = struct.Struct("<4I")
_INT_MAX = 0x7FFFFFFF
"""What a system call takes for a number."""

BODY_MIN = 5
"""What every frame has behind its length: type and id."""

DESCRIPTORS_MAX = 64
"""More than may be on their way at once."""

_DESCRIPTOR = array.array("i").itemsize

ANCILLARY_BYTES = socket.CMSG_SPACE(DESCRIPTORS_MAX * _DESCRIPTOR)
"""Room for the descriptors that come with what is received at once."""


class Kind(enum.IntEnum):
    """The type byte; an answer has the type of its question."""

    SPAWN = 1
    """From the shim: NOT STARTED."""
    KILL = 2
    """From the shim: EXITED."""
    TERM = 3
    BYE = 4
    CHMOD = 5
    OPEN = 6
    RECIPE = 7
    MOUNT = 8
    HELLO = 9


class HelloFlag(enum.IntFlag):
    """What the shim says of itself."""

    TERMINATING = 1
    """It got SIGTERM before this agent was there."""
    PFS_MOUNTED = 2
    """Its commands see the worker's directory as `/pfs`."""


NO_FLAGS = HelloFlag(0)


class RecipeFlag(enum.IntFlag):
    """How commands are started."""

    INHERIT_ENV = 1
    """The shim's own environment (of the image) lies below the one in the frame."""


class Step(enum.IntEnum):
    """What could not be done for a command."""

    COMMAND = 0
    """To start it."""
    DIRECTORY = 1
    """To enter its directory."""
    USER = 2
    """To become its user; with ENOENT: there is none of that name."""


class ProtocolError(Exception):
    """The other side sent what is no frame; the connection cannot be used any more."""

    def __init__(self, what: str, number: int | None = None) -> None:
        super().__init__(what if number is None else f"{what}: {number}")
        self.what, self.number = what, number


class NulError(ValueError):
    """A string of a command holds a NUL character, which no command line can."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} holds a NUL character")
        self.text = text


class Frame(NamedTuple):
    """One frame as it came in."""

    kind: int
    id: int
    payload: bytes


class Recipe(NamedTuple):
    """How to start commands; their descriptors come beside it."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str = ""
    """Empty: wherever the shim is."""
    umask: int = 0o022
    flags: RecipeFlag = RecipeFlag(0)
    user: str = ""
    """A name or uid, or either with `:` and a group behind it; empty: whoever the shim is."""


class Exited(NamedTuple):
    """How a command ended. Times in microseconds."""

    status: int
    """As `os.waitpid` gives it."""
    wall_us: int = 0
    user_us: int = 0
    system_us: int = 0
    peak_rss_kib: int = 0
    """Of its largest process; 0: not known."""
    major_faults: int = 0
    blocks_in: int = 0
    blocks_out: int = 0
    oom_kills: int = -1
    left: int = 0
    """How many processes could not be killed."""


class Hello(NamedTuple):
    """Who the shim is."""

    uid: int
    gid: int
    flags: HelloFlag
    version: int = VERSION


class Decoder:
    """Turns a stream of bytes into frames, however it is cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete now, or raise ProtocolError."""
        source: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            source = self._buffer
        frames: list[Frame] = []
        at, size = 0, len(source)
        while size - at >= _U32.size:
            (length,) = _U32.unpack_from(source, at)
            if not BODY_MIN <= length <= FRAME_MAX_BYTES:
                raise ProtocolError("a frame of so many bytes", length)
            end = at + _U32.size + length
            if size < end:
                break
            _, kind, number = _HEADER.unpack_from(source, at)
            frames.append(Frame(kind, number, bytes(source[at + _HEADER.size : end])))
            at = end
        if source is data:
            self._buffer += data[at:]  # mostly nothing: a frame is read as it was sent
        else:
            del self._buffer[:at]
        return frames


def frame(kind: Kind, number: int = 0, payload: bytes = b"") -> bytes:
    """Return one frame."""
    if len(payload) + BODY_MIN > FRAME_MAX_BYTES:
        raise ProtocolError("a payload of so many bytes", len(payload))
    return _HEADER.pack(BODY_MIN + len(payload), kind, number) + payload


def descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors that came with some bytes."""
    found: list[int] = []
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers = array.array("i")
            numbers.frombytes(content[: len(content) - len(content) % _DESCRIPTOR])
            found += numbers
    return found


# --- the agent's frames ---------------------------------------------------------------------------


def recipe(number: int, value: Recipe) -> bytes:
    """Return a RECIPE frame; NulError if a string holds one."""
    payload = (
        _U32.pack(value.flags),
        _U32.pack(value.umask),
        _strings((value.cwd, value.user)),
        _U32.pack(len(value.argv)),
        _strings(value.argv),
        _variables(value.env),
    )
    return frame(Kind.RECIPE, number, b"".join(payload))


def read_recipe(payload: bytes) -> Recipe:
    """Return what a RECIPE payload says."""
    reader = _Reader(payload)
    flags, umask = reader.u32(), reader.u32()
    cwd, user = reader.string(), reader.string()
    argv = tuple(reader.strings())
    if not argv:
        raise ProtocolError("a command without arguments")
    env = reader.variables()
    inherit = RecipeFlag(flags & RecipeFlag.INHERIT_ENV)
    return Recipe(argv, env, cwd, umask & 0o777, inherit, user)


def spawn(number: int, recipe_number: int, env: Mapping[str, str]) -> bytes:
    """Return a SPAWN frame; NulError if a string holds one."""
    return frame(Kind.SPAWN, number, _U32.pack(recipe_number) + _variables(env))


def read_spawn(payload: bytes) -> tuple[int, dict[str, str]]:
    """Return the number of the recipe and the command's own variables."""
    reader = _Reader(payload)
    return reader.u32(), reader.variables()


def kill(number: int, signal: int) -> bytes:
    """Return a KILL frame."""
    return frame(Kind.KILL, number, _U32.pack(signal))


def read_kill(payload: bytes) -> int:
    """Return the signal in a KILL payload."""
    return _Reader(payload).u32() & _INT_MAX


def chmod(number: int, path: str) -> bytes:
    """Return a CHMOD frame."""
    return frame(Kind.CHMOD, number, _strings((path,)))


def mount(number: int, directory: str, path: str) -> bytes:
    """Return a MOUNT frame."""
    return frame(Kind.MOUNT, number, _strings((directory, path)))


def open_(number: int, path: str, flags: int, user: str) -> bytes:
    """Return an OPEN frame; NulError if a string holds one."""
    return frame(Kind.OPEN, number, _U32.pack(flags) + _strings((path, user)))


def read_chmod(payload: bytes) -> str:
    """Return the path in a CHMOD payload."""
    return _Reader(payload).string()


def read_mount(payload: bytes) -> tuple[str, str]:
    """Return directory and path in a MOUNT payload."""
    reader = _Reader(payload)
    return reader.string(), reader.string()


def read_open(payload: bytes) -> tuple[int, str, str]:
    """Return flags, path and user in an OPEN payload."""
    reader = _Reader(payload)
    return reader.u32() & _INT_MAX, reader.string(), reader.string()


# --- the shim's frames ----------------------------------------------------------------------------


def hello(value: Hello) -> bytes:
    """Return a HELLO frame."""
    return frame(Kind.HELLO, 0, _HELLO.pack(value.version, value.uid, value.gid, value.flags))


def read_hello(payload: bytes) -> Hello:
    """Return what a HELLO payload says."""
    version, uid, gid, flags = _unpack(_HELLO, payload)
    return Hello(uid, gid, HelloFlag(flags & 3), version)


def exited(number: int, value: Exited) -> bytes:
    """Return an EXITED frame."""
    return frame(Kind.KILL, number, _EXITED.pack(*value))


def read_exited(payload: bytes) -> Exited:
    """Return what an EXITED payload says."""
    return Exited(*_unpack(_EXITED, payload))


def pair(kind: Kind, number: int, first: int, second: int = 0) -> bytes:
    """Return NOT STARTED (errno, step), CHMODDED (errno, entries), OPENED or MOUNTED (errno, 0)."""
    return frame(kind, number, _PAIR.pack(first, second))


def read_pair(payload: bytes) -> tuple[int, int]:
    """Return the two numbers of NOT STARTED, CHMODDED, OPENED or MOUNTED."""
    first, second = _unpack(_PAIR, payload)
    return first, second


def _unpack(layout: struct.Struct, payload: bytes) -> Sequence[int]:
    if len(payload) < layout.size:
        raise ProtocolError("a payload of only so many bytes", len(payload))
    return layout.unpack_from(payload)


def _strings(texts: Sequence[str]) -> bytes:
    data = os.fsencode("\0".join([*texts, ""]))
    if data.count(b"\0") != len(texts):
        raise NulError(next(text for text in texts if "\0" in text))
    return data


def _variables(env: Mapping[str, str]) -> bytes:
    return _U32.pack(len(env)) + _strings([f"{key}={value}" for key, value in env.items()])


class _Reader:
    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    def u32(self) -> int:
        if len(self._payload) - self._at < _U32.size:
            raise ProtocolError("a payload that ends within a number")
        (value,) = _U32.unpack_from(self._payload, self._at)
        self._at += _U32.size
        return int(value)

    def string(self) -> str:
        (text,) = self._texts(1)
        return text

    def strings(self) -> list[str]:
        count = self.u32()
        if count > len(self._payload) - self._at:  # each takes a byte at least
            raise ProtocolError("more strings than bytes", count)
        return self._texts(count)

    def variables(self) -> dict[str, str]:
        pairs = [text.partition("=") for text in self.strings()]
        if not all(equals for _, equals, _ in pairs):
            raise ProtocolError("a variable without `=`")
        return {key: value for key, _, value in pairs}

    def _texts(self, count: int) -> list[str]:
        texts = os.fsdecode(self._payload[self._at :]).split("\0", count)
        if len(texts) <= count:
            raise ProtocolError("a string without an end")
        self._at = len(self._payload) - len(os.fsencode(texts.pop()))
        return texts
