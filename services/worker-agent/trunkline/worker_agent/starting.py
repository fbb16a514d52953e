"""Starts commands in sessions of their own, by recipes, from a process with one thread.

What a process has in common with its child (directory, umask) is set and stays so: the next command
sets its own. A command of another user is started by a fork, since what it needs cannot be told to
posix_spawn.
"""

import errno
import os
import signal
import struct
from collections.abc import Mapping
from typing import Never

from trunkline.worker_agent import protocol, users
from trunkline.worker_agent.protocol import Step

_DEFAULTS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_FAILURE = struct.Struct("<ii")


class NotStartedError(Exception):
    """There is no process: the errno, and what could not be done."""

    def __init__(self, number: int, step: Step) -> None:
        super().__init__(number, step)
        self.number, self.step = number, step


class Starter:
    """Starts commands by one recipe."""

    def __init__(self, recipe: protocol.Recipe, descriptors: list[int]) -> None:
        """Take a recipe, and the descriptors that its commands get as stdin, stdout and stderr."""
        inherited = protocol.RecipeFlag.INHERIT_ENV in recipe.flags
        self._env = {**os.environ, **recipe.env} if inherited else recipe.env
        self._recipe = recipe
        self._descriptors = descriptors
        self._actions = [
            (os.POSIX_SPAWN_DUP2, number, place) for place, number in enumerate(descriptors)
        ]

    def start(self, own: Mapping[str, str], here: int) -> int:
        """Start a command and return its pid.

        Args:
            own: Its own variables.
            here: A descriptor of the directory from which a recipe's is reached, if it is relative.

        Raises:
            NotStartedError: It cannot be started.
        """
        env = {**self._env, **own}
        step = Step.USER
        try:
            user = users.find(self._recipe.user)
            if user is not None:
                return self._start_as(user, env, here)
            step = Step.DIRECTORY
            self._enter(here)
            step = Step.COMMAND
            os.umask(self._recipe.umask)
            return os.posix_spawn(
                find(self._recipe.argv[0], env.get("PATH", os.defpath)),
                self._recipe.argv,
                env,
                file_actions=self._actions,
                setsid=True,
                setsigmask=(),
                setsigdef=_DEFAULTS,
            )
        except (OSError, ValueError) as error:
            raise NotStartedError(_number(error), step) from error

    def _enter(self, here: int) -> None:
        if not self._recipe.cwd.startswith("/"):
            os.fchdir(here)
        if self._recipe.cwd:
            os.chdir(self._recipe.cwd)

    def _start_as(self, user: users.User, env: Mapping[str, str], here: int) -> int:
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_child(user, env, here, write)
        finally:
            os.close(write)
            with open(read, "rb") as report:  # noqa: PTH123 - a descriptor
                failed = report.read()
        if failed:
            os.waitpid(pid, 0)
            number, step = _FAILURE.unpack(failed)
            raise NotStartedError(number, Step(step))
        return pid

    def _be_child(self, user: users.User, env: Mapping[str, str], here: int, report: int) -> Never:
        """Become the command; if that fails, say why and end."""
        step = Step.COMMAND
        try:
            os.setsid()
            for place, number in enumerate(self._descriptors):
                os.dup2(number, place)
            step = Step.USER
            users.become(user)
            step = Step.DIRECTORY
            self._enter(here)
            step = Step.COMMAND
            os.umask(self._recipe.umask)
            for each in _DEFAULTS:
                signal.signal(each, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            file = find(self._recipe.argv[0], env.get("PATH", os.defpath))
            os.execve(file, self._recipe.argv, env)  # noqa: S606
        except (OSError, ValueError) as error:
            os.write(report, _FAILURE.pack(_number(error), step))
        finally:
            os._exit(127)

    def close(self) -> None:
        """Close the descriptors."""
        for number in self._descriptors:
            os.close(number)


def _number(error: OSError | ValueError) -> int:
    """Return an errno; ValueError: a variable has no name, say."""
    return (error.errno or 1) if isinstance(error, OSError) else errno.EINVAL


def find(name: str, path: str) -> str:
    """Return the file that a command's name stands for, by the command's own PATH.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: there is one, and it cannot be executed.
    """
    if "/" in name:
        return name
    denied = False
    for folder in path.split(os.pathsep):
        file = os.path.join(folder or ".", name)  # noqa: PTH118 - no Path: it costs more than the rest
        if os.path.isfile(file):  # noqa: PTH113
            if os.access(file, os.X_OK):
                return file
            denied = True
    if denied:
        raise PermissionError(13, os.strerror(13), name)
    raise FileNotFoundError(2, os.strerror(2), name)
