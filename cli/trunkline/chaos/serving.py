"""An installation that is broken all the time, for people to watch: `trunkline up --chaos`."""

from collections.abc import Callable

from trunkline.chaos.core import schedule
from trunkline.chaos.front import Front
from trunkline.chaos.inside import Control
from trunkline.chaos.running import Runner
from trunkline.local import stack
from trunkline.local.home import Home


def control_of(home: Home) -> Control:
    """Return what its services look at to know what is to go wrong; nothing, to begin with."""
    home.make()
    control = Control(home.root / "chaos.json")
    control.change()
    return control


async def serve(
    home: Home,
    *,
    seed: int,
    nodes: int | None = None,
    port: int | None = None,
    servers: int | None = None,
    store: str | None = None,
    standbys: bool = False,
    tell: Callable[[str], None],
) -> None:
    """Run an installation until cancelled, and break all of it that can be broken."""
    front, control = Front(), control_of(home)
    habits = schedule.HABITS["everything"]
    runner = Runner(home, seed, habits, tell, front=front, control=control)
    tell(schedule.told(seed))
    await stack.serve(
        home,
        nodes=nodes,
        port=port,
        servers=servers,
        store=store,
        standbys=standbys,
        settings=control.environment(),
        tell=tell,
        front=front.standing,
        meanwhile=runner.run,
    )
