"""How a process that used the object store ends: once all is written, without taking Python down.

The store's library works on threads of its own, and one of them may still be letting go of what it
has handed to Python when the interpreter goes. Python 3.11 ends a thread that comes for its lock then by
an exception that Rust lets nobody throw: the process dies of SIGABRT, after all that it had to do (one
`trunkline cat` in some 50 on a machine with much to do). There is no way to wait for those threads.
So nothing is taken down here: what is printed is flushed, and the kernel takes the rest back, as it
would after kill -9, which all of our processes may be ended by anyway.
"""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

BAD = 1
_PIPE_CLOSED = 141
"""What a shell says of a command that SIGPIPE has ended."""


def run(main: Callable[[], object]) -> NoReturn:
    """Run a process's main, and end the process with the code that it leaves with."""
    code = 0
    try:
        main()
    except SystemExit as leave:
        code = _code(leave)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = BAD
    finally:
        os._exit(_flushed(code))


def _code(leave: SystemExit) -> int:
    if leave.code is None:
        return 0
    if isinstance(leave.code, int):
        return leave.code & 0xFF
    sys.stderr.write(f"{leave.code}\n")
    return BAD


def _flushed(code: int) -> int:
    """Flush what was printed; return the code, or another one where that cannot be had."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or _PIPE_CLOSED
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot be written: {error}\n")
        code = code or BAD
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        code = code or BAD
    return code
