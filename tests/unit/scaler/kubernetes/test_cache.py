"""What is known of objects: lists, a watch and the answers to writes, in any order."""

from typing import Any

from trunkline.scaler.kubernetes.cache import Cache

Told = list[tuple[str | None, str | None]]


def thing(uid: str, version: int | str, value: str = "v") -> dict[str, Any]:
    return {"metadata": {"uid": uid, "resourceVersion": str(version)}, "value": value}


def cache() -> tuple[Cache[str], Told]:
    told: Told = []
    return Cache(lambda found: str(found["value"]), lambda *each: told.append(each)), told


def test_changes_are_told_and_what_changes_nothing_is_not() -> None:
    its, told = cache()
    its.put(thing("a", 1, "x"))
    its.put(thing("a", 2, "x"))
    its.put(thing("a", 3, "y"))
    its.drop("a")
    its.drop("a")
    assert told == [(None, "x"), ("x", "y"), ("y", None)]
    assert (its.get("a"), len(its)) == (None, 0)


def test_a_watch_that_is_behind_an_answer_changes_nothing() -> None:
    its, _ = cache()
    its.put(thing("a", 10, "new"), assumed_at=1)
    its.put(thing("a", 9, "old"))
    assert its.get("a") == "new"
    its.put(thing("a", "", "unknown"))  # no version to go by: the newest word counts
    assert its.get("a") == "unknown"


def test_a_list_that_was_begun_before_an_answer_does_not_take_it_away() -> None:
    its, _ = cache()
    its.put(thing("a", 5), assumed_at=3)
    its.replace([], begun_at=2)
    assert list(its) == ["v"]
    its.replace([], begun_at=4)
    assert list(its) == []


def test_a_list_is_the_truth_though_versions_have_gone_back() -> None:
    """A restored etcd: versions begin anew, and what is listed is what there is."""
    its, told = cache()
    its.put(thing("a", 1000, "before"))
    its.replace(map(its.reduce, [thing("a", 7, "restored"), thing("b", 8)]), begun_at=1)
    assert sorted(its) == ["restored", "v"]
    its.put(thing("a", 8, "later"))
    assert its.get("a") == "later"
    assert told[-1] == ("restored", "later")


def test_a_list_begun_before_an_answer_does_not_set_it_back_either() -> None:
    its, _ = cache()
    its.put(thing("a", 20, "answered"), assumed_at=5)
    its.replace([its.reduce(thing("a", 10, "listed"))], begun_at=4)
    assert its.get("a") == "answered"
