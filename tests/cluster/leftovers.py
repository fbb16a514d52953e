"""Directories that name the process which made them, so that those of killed ones can be cleared away.

A killed test run has no chance to remove what lies in memory or in /tmp; the next one does it. A process
id that was given anew only keeps a directory a while longer.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path


def make(parent: Path, kind: str, remove: Callable[[Path], None] = shutil.rmtree) -> Path:
    """Make a directory for this process, and remove those of its kind whose makers are gone."""
    for path in parent.glob(f"trunkline-{kind}-*-*"):
        if not _lives(int(path.name.split("-")[2])):
            with contextlib.suppress(OSError):  # another process clears it away, too
                remove(path)
    made = parent / f"trunkline-{kind}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    made.mkdir()
    return made


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
