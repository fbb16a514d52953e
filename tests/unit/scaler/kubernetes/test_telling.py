"""What is told by Events, and how often."""

from trunkline.scaler.kubernetes.owners import Reference
from trunkline.scaler.kubernetes.telling import REPEAT_S, WARNING, Collected, Key, body

ABOUT = Reference(name="trunkline-edges", uid="u")


def key(text: str = "exceeded quota", reason: str = "FailedCreate") -> Key:
    return ABOUT, WARNING, reason, text


def test_the_like_is_told_once_with_its_count_and_again_only_after_a_while() -> None:
    collected = Collected()
    for _ in range(3):
        assert collected.add(key())
    assert collected.due(0.0) == [(key(), 3)]
    told = []
    for second in range(1, 3601):  # a refusal at each try, for an hour
        collected.add(key())
        told += collected.due(float(second))
    assert len(told) == 3600 / REPEAT_S
    assert sum(count for _, count in told) == 3600


def test_another_cause_is_told_at_once() -> None:
    collected = Collected()
    collected.add(key())
    collected.due(0.0)
    collected.add(key())
    collected.add(key("no room"))
    assert collected.due(1.0) == [(key("no room"), 1)]
    assert collected.wait_s(1.0) == REPEAT_S - 1
    assert collected.due(REPEAT_S) == [(key(), 1)]


def test_nothing_waits_for_nothing_and_what_is_new_does_not_wait() -> None:
    collected = Collected()
    assert collected.wait_s(5.0) is None
    collected.add(key())
    assert collected.wait_s(5.0) == 0.0


def test_kinds_are_bounded() -> None:
    collected = Collected()
    added = [collected.add(key(str(number))) for number in range(2000)]
    assert sum(added) == 1000
    assert collected.add(key("0"))


def test_an_event_is_about_the_pipelines_config_map() -> None:
    event = body(key(), 3, "workers", 1_700_000_000_000_000_000)
    assert event["involvedObject"]["kind"] == "ConfigMap"
    assert (event["involvedObject"]["name"], event["involvedObject"]["uid"]) == (
        "trunkline-edges",
        "u",
    )
    assert (event["type"], event["reason"], event["message"], event["count"]) == (
        "Warning",
        "FailedCreate",
        "exceeded quota",
        3,
    )
    assert event["firstTimestamp"] == "2023-11-14T22:13:20Z"
    names = {body(key(), 1, "workers", 0)["metadata"]["name"] for _ in range(10)}
    assert len(names) == 10
