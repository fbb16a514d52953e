"""What an installation on one machine consists of: which processes, told what."""

import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from trunkline.contracts import errors
from trunkline.contracts.durability import Durability
from trunkline.local import children, credentials, server
from trunkline.local.children import Service
from trunkline.local.home import Context, Home
from trunkline.local.server_files import Credentials, Files
from trunkline.runtime import settings as settings_of

COORDINATOR, SCALER = "coordinator", "scaler"
"""Names of those that lead or stand by, or what these begin with."""
SERVER = "nats-server"
"""Name of the server, or what the names of several begin with."""
SERVER_STOP_S = 30.0
"""The server needs some 10 ms per consumer to stop."""
POOL_STOP_S = 15.0
"""Over the grace that the pool gives its workers."""


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """Read from `TRUNKLINE_<FIELD>`."""

    durability: Durability | None = None
    """What streams and buckets survive; unset: three copies where there are three servers."""


class TooFewServersError(errors.TrunklineError):
    """There are fewer servers than copies are stated."""

    def __init__(self, stated: Durability, servers: int) -> None:
        super().__init__(
            f"TRUNKLINE_DURABILITY={stated.value} asks for {stated.copies} copies, and --servers {servers}"
            f" has room for {servers}: take --servers {stated.copies}, or another level"
        )
        self.stated, self.servers = stated, servers


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to run, and how users reach it."""

    context: Context
    services: tuple[Service, ...]
    fronts: tuple[tuple[int, int], ...] = ()
    """Where each server is looked for, and where it listens, if that is not the same."""


def prepare(
    home: Home,
    *,
    port: int | None,
    servers: int | None,
    store_url: str,
    settings: Mapping[str, str],
    fronted: bool = False,
    standbys: bool = False,
) -> Plan:
    """Write the servers' configuration and credentials; return what is to run.

    Args:
        home: The state directory, with its directories made.
        port: Of NATS; see `credentials.prepare`.
        servers: Of NATS; see `credentials.prepare`.
        store_url: Of the object store.
        settings: Environment of all services, beside what is their own.
        fronted: See `credentials.prepare`.
        standbys: Whether another coordinator and another scaler stand by.
    """
    stated = settings_of.load(Stated, {**os.environ, **settings}).durability
    copies = stated.copies if stated else 1
    if stated and servers and servers < copies:
        raise TooFewServersError(stated, servers)
    made = credentials.prepare(
        home.nats,
        port=port,
        servers=servers or (copies if copies > 1 else None),
        sync_interval=(stated or Durability.FILE).sync_interval,
        fronted=fronted,
    )
    level = stated or (Durability.REPLICATED if len(made.ports) > 1 else Durability.FILE)
    told = Told(home, settings, store_url, made)
    return Plan(
        context=Context(
            url=made.url("user"),
            store=store_url,
            auditor=made.url("auditor"),
            auditor_data=made.url("auditor-data"),
        ),
        fronts=tuple(zip(made.ports, made.behind, strict=True)) if fronted else (),
        services=(*_servers(told), *_services(told, level, standbys=standbys)),
    )


class Told(NamedTuple):
    """What processes are told, each its part of it."""

    home: Home
    settings: Mapping[str, str]
    store_url: str
    made: Credentials

    @property
    def environ(self) -> dict[str, str]:
        """Our own environment, and what was set beside it."""
        return {**os.environ, **self.settings}

    @property
    def common(self) -> dict[str, str]:
        """The environment of the pool, the coordinator and the scaler."""
        return {**self.settings, "TRUNKLINE_STORE": self.store_url}

    def access(self, service: str) -> dict[str, str]:
        """Return by what a service reaches NATS in both accounts."""
        return {
            "TRUNKLINE_CTL_URL": self.made.url(service),
            "TRUNKLINE_DATA_URL": self.made.url(f"{service}-data"),
            "TRUNKLINE_DATA_KEY": self.made.data_key,
        }


def _services(told: Told, level: Durability, *, standbys: bool) -> Iterator[Service]:
    home = told.home
    place = {"TRUNKLINE_HOME": str(home.root)}
    probes = _probe_ports(told.environ)
    yield Service(
        name="pool",
        command=children.python("trunkline.local.pool"),
        env={**told.common, **place},
        stop_s=POOL_STOP_S,
    )
    coordinator = Service(
        name=COORDINATOR,
        command=children.python("trunkline.coordinator"),
        env={
            **told.common,
            **told.access(COORDINATOR),
            "TRUNKLINE_DURABILITY": level.value,
            "TRUNKLINE_SECRETS_DIR": str(home.secrets),
            "TMPDIR": str(_spool(home)),
        },
    )
    scaler = Service(
        name=SCALER,
        command=children.python("trunkline.local.scaler"),
        env={**told.common, **place, **told.access(SCALER)},
    )
    for each in (coordinator, scaler):
        yield from _candidates(each, probes, standbys=standbys)


def _candidates(service: Service, probes: Iterator[str], *, standbys: bool) -> Iterator[Service]:
    """Yield a service, and another one that stands by, each with a name and a port of its own."""
    for name in (service.name, f"{service.name}-2") if standbys else (service.name,):
        own = {"TRUNKLINE_NAME": name, "TRUNKLINE_PROBE_PORT": next(probes)}
        env = {**service.env, **{key: text for key, text in own.items() if text}}
        yield msgspec.structs.replace(service, name=name, env=env)


def _probe_ports(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield where each process answers probes: the first where it is set, others on the next ports."""
    text = environ.get("TRUNKLINE_PROBE_PORT", "")
    for number in itertools.count():
        yield str(int(text) + number) if text.isdecimal() and int(text) else text


def _servers(told: Told) -> Iterator[Service]:
    files, made = Files(told.home.nats), told.made
    binary = server.find_binary(told.environ)
    for number, each in files.servers(made):
        yield Service(
            name=SERVER if len(made.ports) == 1 else f"{SERVER}-{number}",
            command=server.command(binary, each),
            stop_s=SERVER_STOP_S,
            many_files=True,
        )


def _spool(home: Home) -> Path:
    """Return where the coordinator sorts what does not fit into its memory."""
    path = home.root / "spool"
    path.mkdir(mode=0o700, exist_ok=True)
    return path
