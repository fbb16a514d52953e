"""Who leads the services and who stands by, as the bucket of leaders says it, for people."""

from collections.abc import Iterable

from trunkline.bus.ports import Entry
from trunkline.contracts import api
from trunkline.contracts.records import Candidate


def of(entries: Iterable[Entry[Candidate]]) -> tuple[api.Standing, ...]:
    """Return a service each, by name; who has just stopped standing by may still be among those who do."""
    found = [(each.key, each.value) for each in entries if each.value is not None]
    leaders = {key: value for key, value in found if "." not in key}
    services = sorted({key.partition(".")[0] for key, _ in found})
    return tuple(_standing(each, leaders.get(each), found) for each in services)


def _standing(
    service: str, leader: Candidate | None, found: Iterable[tuple[str, Candidate]]
) -> api.Standing:
    leads = leader if leader is not None and not leader.released else None
    standbys = sorted(
        value.name
        for key, value in found
        if key.startswith(f"{service}.") and (not leads or value.incarnation != leads.incarnation)
    )
    return api.Standing(
        service=service,
        leader=leads.name if leads else "",
        term=leader.term if leader else 0,
        since_ns=leads.since_ns if leads else 0,
        standbys=tuple(standbys),
    )
