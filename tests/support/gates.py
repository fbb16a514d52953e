"""A gate in a user's command: who comes to it says so, and goes on once a test has opened it.

Whatever has to be in the middle of a datum when a test looks, kills or stops is so on a fast machine as on a slow one:
the command itself says that it runs, which no record tells as soon, and its datum does not end before it may.
"""

import asyncio
import shlex
from pathlib import Path

REACHED_S = 60.0


def waits(gate: str) -> str:
    """Return the lines of a shell script that wait at a gate, whose path is this word of the shell.

    Where it cannot be written, who has come is not known, and waits all the same.
    """
    return f'echo "$TRUNKLINE_WORKER" 2>/dev/null >>{gate}; until [ -e {gate}.open ]; do sleep 0.02; done'


def of_job(folder: Path, pattern: str) -> str:
    """Return the lines by which a datum with such a file waits at its job's gate, `Gate(folder / job)`.

    The pattern is the shell's, and of whole paths.
    """
    gate = f'{shlex.quote(str(folder))}/"$TRUNKLINE_JOB_ID"'
    return f'for each in "$PFS"/*/*; do case "$each" in {pattern}) {waits(gate)};; esac; done'


class Gate:
    """One, closed at first; whoever comes later than its opening passes."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def waits(self) -> str:
        """The lines of a script that wait here."""
        return waits(shlex.quote(str(self.file)))

    async def reached(self, count: int = 1) -> list[str]:
        """Return the workers that have come, one after the other, once there are so many."""

        async with asyncio.timeout(REACHED_S):
            while len(came := self._came()) < count:
                await asyncio.sleep(0.02)
        return came

    def open(self) -> None:
        """Let all go on."""
        Path(f"{self.file}.open").touch()

    def _came(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []
