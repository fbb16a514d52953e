"""The picture of `trunkline top` for the README: a real run on one machine, some seconds after a worker was killed.

    python -m tests.pictures.top [FILE]

Nothing is invented: what is drawn is what the verb would have shown then, once the kill is among the last failures
and the job goes on. The picture fetches nothing, fonts included.
"""

import asyncio
import io
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from tests.support import gates, installation
from tests.support.gates import Gate
from tests.support.installation import Installation, SystemClock

from trunkline.cli import board_view, topping
from trunkline.cli.core.board import Board

FILE = Path(__file__).parents[2] / "docs" / "pictures" / "top.svg"
WIDTH = 118
TITLE = "trunkline top"
DATUMS = 240
_KILL_AT = 70
"""Datums that are done when the worker goes."""
_HELD = "*/100.jpg"
"""The photo at which it is then: that one waits until somebody has gone."""
_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)

THUMBNAILS: dict[str, Any] = {
    "pipeline": {"name": "thumbnails"},
    "transform": {
        "cmd": ["/bin/sh"],
        "stdin": [
            'sleep 0.$(($(cat "$PFS"/photos/*) % 6 + 3))',
            # one photo is broken at its first try
            'if [ -e "$PFS/photos/041.jpg" ] && [ ! -e TRIED ]; then touch TRIED; exit 3; fi',
            'cp "$PFS"/photos/* "$PFS/out/"',
        ],
    },
    "input": {"pfs": {"repo": "photos", "glob": "/*"}},
}
ALBUM: dict[str, Any] = {
    "pipeline": {"name": "album"},
    "transform": {"cmd": ["/bin/sh"], "stdin": ['cp "$PFS"/thumbnails/* "$PFS/out/"']},
    "input": {"pfs": {"repo": "thumbnails", "glob": "/"}},
    "standby": True,
}


async def a_board_after_a_kill() -> Board:
    """Run a job on four workers, kill one that is busy, and return what `top` shows when that is told."""
    async with installation.running(nodes=4) as here:
        await here.repo("photos")
        script = [
            line.replace("TRIED", str(here.home / "tried"))
            for line in THUMBNAILS["transform"]["stdin"]
        ]
        script.insert(0, gates.of_job(here.home, _HELD))
        await here.apply({**THUMBNAILS, "transform": {"cmd": ["/bin/sh"], "stdin": script}})
        await here.apply(ALBUM)
        await here.workers("thumbnails", 4)
        photos = {f"/{number:03}.jpg": b"%d" % number for number in range(DATUMS)}
        job = await here.put("photos", photos)
        looker = topping.Looker(here.client, "", SystemClock())
        killed = ""
        async for board, _ in topping.boards_of(looker, 0.25):
            if not killed and board.jobs and board.jobs[0].done >= _KILL_AT:
                killed = await _killed(here, Gate(here.home / job))
            elif killed and _told(board, killed):
                break
        await here.succeeded("album", job)
        return board


async def _killed(here: Installation, held: Gate) -> str:
    worker = (await held.reached())[-1]
    await here.kill_worker(worker)
    held.open()
    return worker


def _told(board: Board, worker: str) -> bool:
    """Whether the kill is shown, its successor is at work, and the datum that failed is there, too."""
    texts = [each.text for each in board.failures]
    busy = sum(each.phase == "busy" for each in board.workers)
    lost = any(f"{worker} was lost" in text for text in texts)
    return lost and busy >= 4 and any("exit code" in text for text in texts)


def svg(board: Board) -> str:
    """Return a board as a picture."""
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(board_view.screen(board, columns=WIDTH))
    drawn = console.export_svg(title=TITLE, unique_id="top")
    return _FONTS.sub("", drawn).replace("Fira Code", "ui-monospace, Menlo, Consolas")


def main() -> None:
    """Write the picture."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(svg(asyncio.run(a_board_after_a_kill())))
    print(target)


if __name__ == "__main__":
    main()
