"""Starts commands in sessions of their own, by recipes, from a process with one thread.

What a process has in common with its child (directory, umask) is set and stays so: the next command
sets its own.
"""

import os
import signal
from collections.abc import Mapping

from trunkline.worker_agent import protocol

_DEFAULTS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


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
            OSError: It cannot be started.
            ValueError: A variable has no name.
        """
        recipe = self._recipe
        if not recipe.cwd.startswith("/"):
            os.fchdir(here)
        if recipe.cwd:
            os.chdir(recipe.cwd)
        os.umask(recipe.umask)
        env = {**self._env, **own}
        return os.posix_spawn(
            find(recipe.argv[0], env.get("PATH", os.defpath)),
            recipe.argv,
            env,
            file_actions=self._actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULTS,
        )

    def close(self) -> None:
        """Close the descriptors."""
        for number in self._descriptors:
            os.close(number)


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
