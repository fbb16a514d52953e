"""By what pods find each other, and what their probes find of them: decided without a cluster."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from tests.cluster.kubelet import names, probing
from tests.cluster.kubelet.names import Behind
from tests.cluster.kubelet.probing import Found, Target


def pod(name: str, address: str, *, namespace: str = "ns", **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace, "labels": {"app": name.partition("-")[0]}}
    return {"metadata": meta, "spec": spec, "status": {"podIP": address}}


def service(name: str, **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "ns"}
    return {"metadata": meta, "spec": {"selector": {"app": name}, **spec}}


FIRST = Behind(pod=pod("db-0", "127.9.0.1", hostname="db-0", subdomain="db"), ready=True)
SECOND = Behind(pod=pod("db-1", "127.9.0.2", hostname="db-1", subdomain="db"), ready=False)
OTHERS = Behind(pod=pod("db-2", "127.9.0.3", namespace="other"), ready=True)


def addresses(text: str, name: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if name in line.split()[1:]]


def test_a_service_is_found_by_its_ready_pods_under_each_of_its_names() -> None:
    text = names.hosts(pod("a", "127.9.0.9"), [service("db")], [FIRST, SECOND, OTHERS])
    for name in ("db", "db.ns", "db.ns.svc", "db.ns.svc.cluster.local", "db-0.db", "db-0.db.ns"):
        assert addresses(text, name) == ["127.9.0.1"]
    assert addresses(text, "a") == ["127.9.0.9"]
    assert addresses(text, "localhost") == ["127.0.0.1"]


def test_pods_that_are_not_ready_are_found_where_the_service_wants_it() -> None:
    text = names.hosts(
        pod("a", "127.9.0.9"), [service("db", publishNotReadyAddresses=True)], [FIRST, SECOND]
    )
    assert addresses(text, "db") == ["127.9.0.1", "127.9.0.2"]
    assert addresses(text, "db-1.db") == ["127.9.0.2"]


def test_the_short_name_is_for_the_own_namespace_only() -> None:
    text = names.hosts(pod("a", "127.9.0.9", namespace="other"), [service("db")], [FIRST])
    assert addresses(text, "db") == []
    assert addresses(text, "db.ns") == ["127.9.0.1"]


async def found(container: dict[str, Any], answers: list[bool], pace: float = 0.0) -> list[Found]:
    """Return what was found until the container was to be stopped, or answers ran out."""
    seen, out = [probing.before(container)], asyncio.Event()

    async def execute(_: list[str]) -> int:
        if not answers:
            out.set()
            await asyncio.Event().wait()
        return 0 if answers.pop(0) else 1

    target = Target(container=container, address="", execute=execute)
    with suppress(TimeoutError):
        async with asyncio.timeout(3600), asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(probing.run(target, pace, seen.append), name="asking")
            await asyncio.wait(
                [asking, tasks.create_task(out.wait(), name="out")],
                return_when=asyncio.FIRST_COMPLETED,
            )
            asking.cancel()
            out.set()
    return seen


def asks(period_s: int = 10, failures: int = 3) -> dict[str, Any]:
    return {
        "exec": {"command": ["true"]},
        "periodSeconds": period_s,
        "failureThreshold": failures,
        "timeoutSeconds": 9999,
    }


READY, STARTED, NEITHER = (
    Found(started=True, ready=True),
    Found(started=True, ready=False),
    Found(started=False, ready=False),
)


@pytest.mark.looptime
async def test_a_container_without_probes_is_ready_at_once() -> None:
    assert probing.before({}) == READY


@pytest.mark.looptime
async def test_readiness_is_asked_for_only_once_a_container_has_started() -> None:
    container = {"startupProbe": asks(), "readinessProbe": asks()}
    assert await found(container, [False, True, False, True]) == [NEITHER, STARTED, READY]


@pytest.mark.looptime
async def test_one_failure_makes_nobody_unready_and_many_do() -> None:
    container = {"readinessProbe": asks()}
    assert await found(container, [True, False, True], pace=1.0) == [STARTED, READY]
    often = [True, *[False] * 5]
    assert await found(container, often, pace=1.0) == [STARTED, READY, STARTED]


@pytest.mark.looptime
async def test_who_fails_its_liveness_for_as_long_as_it_may_is_stopped(looptime: Any) -> None:
    await found({"livenessProbe": asks()}, [True, *[False] * 1000], pace=0.02)
    assert 30 <= looptime < 31
