"""A gate in a user's command: who comes to it says so, and goes on once a test has opened it.

Whatever has to be in the middle of a datum when a test looks, kills or stops is so on a fast machine as on a slow one:
the command itself says that it runs, which no record tells as soon, and its datum does not end before it may.
"""

import shlex
from pathlib import Path

from tests.support import installation


def waits(gate: str) -> str:
    """Return the lines of a shell script that wait at a gate, whose path is this word of the shell."""
    return f'echo "$TRUNKLINE_WORKER" >>{gate}; until [ -e {gate}.open ]; do sleep 0.02; done'


class Gate:
    """One, closed at first; whoever comes later than its opening passes."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def waits(self) -> str:
        """The lines of a script that wait here."""
        return waits(shlex.quote(str(self.file)))

    def at(self, pattern: str) -> str:
        """Return the lines by which a datum waits here if a pattern of the shell matches any of its files' paths."""
        return f'for each in "$PFS"/*/*; do case "$each" in {pattern}) {self.waits};; esac; done'

    async def reached(self, count: int = 1) -> list[str]:
        """Return the workers that have come, one after the other, once there are so many."""

        async def look() -> list[str] | None:
            came = self.file.read_text().splitlines() if self.file.exists() else []
            return came if len(came) >= count else None

        return await installation.until(look, what=f"{count} at the gate {self.file.name}")

    def open(self) -> None:
        """Let all go on."""
        Path(f"{self.file}.open").touch()
