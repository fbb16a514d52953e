"""The verb `top`: looks again and again, and shows what `core.board` makes of it.

A look that is not answered adds nothing to the screen but a second line, which says since when; the connection
comes back by itself, and so does the screen: a server, a coordinator or a scaler may be restarted under it. What was
seen so far is only needed for paces and failures; whoever looks for the first time has the average since a job
began, and the failures of the last LOOK_BACK_S.
"""

import asyncio
import contextlib
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

import msgspec

from trunkline.cli import render, session
from trunkline.cli.core import board as boards
from trunkline.cli.core import pace as paces
from trunkline.cli.core.board import Board
from trunkline.cli.core.explanations import span
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api, errors, messages, records
from trunkline.runtime.clock import Clock, SystemClock

LOOK_BACK_S = 300.0
"""How old the failures may be that the first look shows."""

ANSWER_S = 2.5
"""After which a look that is not answered shows as such."""

LISTEN_S, LISTEN_ONCE_S = 1.0, 10.0
"""For how long one look reads events: of many, and where it is the only one."""
_JOBS_MAX = 100
_KEPT = 200


class Looker:
    """Makes boards. `pipeline` is empty for all."""

    def __init__(
        self, client: Client, pipeline: str, clock: Clock, *, listen_s: float = LISTEN_S
    ) -> None:
        self._client, self._pipeline, self._clock = client, pipeline, clock
        self._listen_s = listen_s
        self._paces: dict[tuple[str, str], paces.Pace] = {}
        self._failures: deque[messages.Event] = deque(maxlen=_KEPT)
        since_ns = clock.wall_ns() - int(LOOK_BACK_S * 1e9)
        self._asked = api.EventPage(key=pipeline, limit=api.PAGE_MAX, since_ns=since_ns)

    async def look(self) -> Board:
        """Return the board as it is now.

        Raises:
            NotFoundError: there is no such pipeline.
        """
        views = await self._views()
        jobs = await self._jobs(views)
        await self._listen()
        now_ns = self._clock.wall_ns()
        return boards.board(
            self._pipeline or "all pipelines",
            views,
            jobs,
            list(self._failures),
            now_ns=now_ns,
            paces=partial(self._pace, now_ns / 1e9),
        )

    async def _views(self) -> list[api.PipelineView]:
        if self._pipeline:
            named = api.Named(name=self._pipeline)
            return [await self._client.call("pipeline.get", named, api.PipelineView)]
        listed = self._client.every("pipeline.list", api.PipelineView, page=100)
        return [each async for each in listed]

    async def _jobs(self, views: list[api.PipelineView]) -> list[records.Job]:
        """Return the newest jobs; those that run are among them, or are too many to show."""
        if all(view.last_job is None for view in views):
            return []
        page = api.Page(key=self._pipeline, limit=_JOBS_MAX)
        return await self._client.call("job.list", page, list[records.Job])

    async def _listen(self) -> None:
        """Take the failures into account that were told since the last time, a page at a time, and not for long.

        One that is cut short has come so far all the same, and so has one behind which there is more: the next one goes on
        there. So a worker that floods everybody's events delays failures, and no board.
        """
        until_s = self._clock.monotonic_s() + self._listen_s
        more = True
        while more:
            found, after, more = await self._client.events_page(self._asked)
            self._asked = msgspec.structs.replace(self._asked, after=after)
            self._failures += filter(boards.is_failure, found)
            more = more and self._clock.monotonic_s() < until_s

    def _pace(self, now_s: float, job: records.Job) -> tuple[float, float | None]:
        pace = self._paces.setdefault((job.pipeline, job.id), paces.Pace())
        return boards.going(pace, job, now_s)


def top(asked: Asked, pipeline: str, *, once: bool, every_s: float) -> None:
    """Show what runs: once, or until Ctrl-C."""
    live = not once and asked.for_people and sys.stdout.isatty()

    async def body(client: Client) -> None:
        listen_s = LISTEN_S if live else LISTEN_ONCE_S
        looker = Looker(client, pipeline, SystemClock(), listen_s=listen_s)
        if live:
            with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how one leaves
                await _live(looker, every_s)
            return
        shown = await looker.look()
        if not render.one(asked, shown):
            from trunkline.cli import board_view  # noqa: PLC0415 - rich is a terminal's only

            board_view.print_once(shown)

    session.run(asked, body)


async def boards_of(looker: Looker, every_s: float) -> AsyncIterator[tuple[Board, str]]:
    """Yield a board and, where it is an old one, since when nobody has answered; for ever.

    Raises:
        RequestRefusedError: what is looked at is not there any more.
    """
    clock = SystemClock()
    last = await looker.look()
    seen_s = clock.monotonic_s()
    yield last, ""
    while True:
        await asyncio.sleep(every_s)
        try:
            async with asyncio.timeout(ANSWER_S):
                last = await looker.look()
            seen_s = clock.monotonic_s()
            yield last, ""
        except (errors.UnavailableError, TimeoutError):
            yield last, f"nobody answers for {span(clock.monotonic_s() - seen_s)}: this is what was"


async def _live(looker: Looker, every_s: float) -> None:
    from rich.console import Console  # noqa: PLC0415 - a terminal's only
    from rich.live import Live  # noqa: PLC0415

    from trunkline.cli import board_view  # noqa: PLC0415

    console = Console()
    last: tuple[Board, str] | None = None

    def draw() -> None:
        if last is not None:
            (board, away), size = last, console.size
            screen = board_view.screen(board, away=away, columns=size.width, rows=size.height)
            shown.update(screen, refresh=True)

    with Live(console=console, screen=True, auto_refresh=False) as shown, _resized(draw):
        async for seen in boards_of(looker, every_s):
            last = seen
            draw()


@contextlib.contextmanager
def _resized(draw: Callable[[], None]) -> Iterator[None]:
    """Draw at once whenever the terminal has another size: the next look may be seconds away."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, draw)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
