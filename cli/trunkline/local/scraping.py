"""Where the services of an installation on one machine are scraped: a socket each, and a file that names them.

The supervisor opens the sockets and the services inherit them, so a port stays the same over restarts of a service,
nobody else can take it in between, and an installation that is started again has the ports of the last time
where they are free. `metrics.json` in the state directory lists them in the form of Prometheus' `file_sd_configs`:

    scrape_configs:
      - job_name: trunkline
        file_sd_configs: [{files: [~/.trunkline/metrics.json]}]   # by its full path

Each target has the label `installation`, which is the directory: one Prometheus may scrape several. Workers have no port: what they do is told with their outcomes, and counted by the coordinator.

Where `TRUNKLINE_PROBE_PORT` is set, services listen on that port and the next ones by themselves, and the file names these.
A supervisor that is killed leaves a file of ports where nobody listens; the next one replaces it.
"""

import contextlib
import socket
from collections.abc import Iterator, Sequence

import msgspec

from trunkline.local import layout
from trunkline.local.children import Service
from trunkline.local.home import Home

HOST = "127.0.0.1"


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One process that is scraped, as Prometheus wants it."""

    targets: tuple[str, ...]
    labels: dict[str, str]


@contextlib.contextmanager
def listening(home: Home, services: Sequence[Service]) -> Iterator[tuple[Service, ...]]:
    """Yield the services, those that are scraped with a socket of theirs; inside, the file names them."""
    last, ports = _ports(home), dict[str, int]()
    with contextlib.ExitStack() as sockets:
        given: list[Service] = []
        for each in services:
            fixed = each.env.get("TRUNKLINE_PROBE_PORT", "")
            if not each.name.startswith((layout.COORDINATOR, layout.SCALER)):
                given.append(each)
            elif fixed:
                given.append(each)
                ports |= {each.name: int(fixed)} if fixed.isdecimal() and int(fixed) else {}
            else:
                opened = sockets.enter_context(_opened(last.get(each.name, 0)))
                ports[each.name] = opened.getsockname()[1]
                env = {**each.env, "TRUNKLINE_PROBE_FD": str(opened.fileno())}
                given.append(msgspec.structs.replace(each, env=env, inherits=(opened.fileno(),)))
        where = str(home.root)
        groups = [
            Group(targets=(f"{HOST}:{port}",), labels={"process": name, "installation": where})
            for name, port in ports.items()
        ]
        home.scraped.write_bytes(msgspec.json.format(msgspec.json.encode(groups)))
        yield tuple(given)


def addresses(home: Home) -> dict[str, str]:
    """Return where each process shows its metrics; nothing where that is not known."""
    return {name: f"http://{HOST}:{port}/metrics" for name, port in _ports(home).items()}


def _ports(home: Home) -> dict[str, int]:
    try:
        groups = msgspec.json.decode(home.scraped.read_bytes(), type=list[Group])
        return {each.labels["process"]: int(each.targets[0].rpartition(":")[2]) for each in groups}
    except (OSError, msgspec.DecodeError, LookupError, ValueError):
        return {}


def _opened(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError:
        return socket.create_server((HOST, 0))
