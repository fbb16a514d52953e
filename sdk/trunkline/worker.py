"""Datums, one after the other, for a command that stays up (`transform.datum_batching: true`).

    import trunkline.worker

    model = load()                              # once
    for datum in trunkline.worker.datums():
        with datum:                             # an exception in here fails this datum only
            work(model, datum.inputs["images"], datum.out)

This file needs nothing but Python's own library and may be copied into any image under any name. Run as
a program it is `trunkline-next`, for shells and whatever else can start one:

    while eval "$(trunkline-next)"; do
        work "$images" /pfs/out
    done

Without `datum_batching` the loop runs once, over the one datum that the command was started for.
"""

import _socket  # what `socket` is made of: that takes many times as long to import, and adds nothing here
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

SOCKET = "TRUNKLINE_SOCKET"

_ERROR_CHARS = 2000
_FAILED = "it has failed"
"""What is said for an error of blanks only."""
_USAGE = """\
usage: trunkline-next [--error TEXT]

Say that the last datum is done, or with --error that it has failed; wait for the next one, and print its
variables for a shell to evaluate. When there are no more: print `false`, and exit with 1.

    while eval "$(trunkline-next)"; do ...; done
"""


class WorkerError(Exception):
    """The worker does not answer, or not as it should."""

    def __init__(self, what: str, why: object) -> None:
        super().__init__(f"{what}: {why}")


class Datum:
    """One datum; its files are in `inputs` and `out` until the next one is asked for."""

    def __init__(self) -> None:
        """Know nothing of it yet."""
        self.id = ""
        self.inputs: dict[str, str] = {}
        """By input: the path that its glob matched, a file or a directory."""
        self.out = ""
        """The directory for the output."""
        self.env: dict[str, str] = {}
        """Its variables and its job's; they stand in `os.environ`, too."""
        self.error = ""
        """Why it has failed; set it, or let an exception leave the `with` block."""

    def __enter__(self) -> "Datum":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        trace: "TracebackType | None",
    ) -> bool:
        """Take an error for the datum's own; what is no `Exception` ends the program as always."""
        if kind is None or not isinstance(error, Exception) or SOCKET not in os.environ:
            return False
        sys.excepthook(kind, error, trace)
        self.error = f"{kind.__name__}: {error}"
        return True


def datums() -> "Iterator[Datum]":
    """Yield the datums of this worker, until there are no more.

    A datum is done when the next one is asked for. An exception that leaves the loop, or a `break`, ends
    the program with the datum in hand: that try has failed, and the program is started anew.

    Raises:
        WorkerError: there is no worker to ask.
    """
    if SOCKET not in os.environ:
        yield _only()
        return
    with _Line() as line:
        datum = Datum()
        while (following := line.next(datum.error)) is not None:
            for name in datum.env.keys() - following.env.keys():
                os.environ.pop(name, None)
            datum = following
            os.environ.update(datum.env)
            yield datum
            sys.stdout.flush()
            sys.stderr.flush()


class _Line:
    """A connection to the worker."""

    def __init__(self) -> None:
        if SOCKET not in os.environ:
            raise WorkerError("is `datum_batching` in the spec?", f"there is no {SOCKET}")
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        directory, name = os.path.split(os.environ[SOCKET])
        try:
            here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:  # this way, since the path itself may be too long for a socket
                self._socket.connect(f"/proc/self/fd/{here}/{name}")
            finally:
                os.close(here)
        except OSError as error:
            raise WorkerError("the worker cannot be reached", error) from error

    def __enter__(self) -> "_Line":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def next(self, error: str) -> "Datum | None":
        """Ask for the next datum; None: there is none."""
        text = " ".join(error.split())[:_ERROR_CHARS] or (error and _FAILED)
        request = f"next {text}\n" if text else "next\n"
        try:
            self._socket.sendall(request.encode("utf-8", "replace"))
            answer = self._answer()
        except OSError as problem:
            raise WorkerError("the worker is gone", problem) from problem
        first, *lines = os.fsdecode(answer).split("\n")
        word, _, rest = first.partition(" ")
        if word == "end":
            return None
        if word != "datum":
            raise WorkerError("the worker says", first)
        return _read(rest, lines)

    def _answer(self) -> bytes:
        """Return the lines of an answer; nothing follows before the next request."""
        received = b""
        while not received.endswith(b"\n\n"):
            data = self._socket.recv(65536)
            if not data:
                raise WorkerError("the worker is gone", "it has closed the connection")
            received += data
        return received[:-2]


def _read(name: str, lines: list[str]) -> Datum:
    datum = Datum()
    datum.id = name
    for line in lines:
        word, _, rest = line.partition(" ")
        if "\\" in rest:
            rest = rest.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")
        if word == "out":
            datum.out = rest
        elif word in ("in", "env"):
            key, _, value = rest.partition("=")
            (datum.inputs if word == "in" else datum.env)[key] = value
    return datum


def _only() -> Datum:
    """Return the datum that this process was started for."""
    pfs = os.environ.get("PFS", "/pfs")
    names = sorted(each.name for each in os.scandir(pfs) if each.is_dir() and each.name != "out")
    datum = Datum()
    datum.id = os.environ.get("TRUNKLINE_DATUM_ID", "")
    datum.inputs = {name: os.environ.get(name, f"{pfs}/{name}") for name in names}
    datum.out = f"{pfs}/out"
    datum.env = dict(os.environ)
    return datum


def _assignment(name: str, value: str) -> str:
    quoted = value.replace("'", "'\\''")
    return f"export {name}='{quoted}'\n"


def main() -> int:
    """Be `trunkline-next`."""
    match sys.argv[1:]:
        case []:
            error = ""
        case ["--error", text]:
            error = text or _FAILED
        case _:
            sys.stderr.write(_USAGE)
            return 2
    try:
        with _Line() as line:
            datum = line.next(error)
    except WorkerError as problem:
        sys.stderr.write(f"trunkline-next: {problem}\n")
        sys.stdout.write("false\n")  # an `eval` of nothing would be true
        return 2
    if datum is None:
        sys.stdout.write("false\n")
        return 1
    named = [each for each in datum.env.items() if each[0].isidentifier()]
    sys.stdout.write("".join([_assignment(*each) for each in named]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
