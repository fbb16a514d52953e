"""What a cache makes of answers that are read after the watch has told of an object's end."""

from typing import Any

from trunkline.scaler.kubernetes.cache import Cache


def cache() -> Cache[str]:
    return Cache(lambda found: str(found["metadata"]["name"]), lambda *_: None)


def pod(version: int) -> dict[str, Any]:
    return {"metadata": {"name": "p", "uid": "u", "resourceVersion": str(version)}}


def test_an_answer_to_a_deletion_brings_nothing_back_that_has_ended() -> None:
    """1. A pod is told to go. 2. It is gone at once, says the watch. 3. The answer is read: it is on its way out."""
    kept = cache()
    kept.put(pod(1))
    kept.ended("u")
    kept.put(pod(2), assumed_at=1)
    assert list(kept) == []


def test_an_answer_to_a_creation_brings_nothing_back_that_has_ended_since() -> None:
    kept = cache()
    kept.put(pod(1))
    kept.ended("u")
    kept.put(pod(1), assumed_at=1)
    assert list(kept) == []


def test_one_that_we_have_dropped_is_kept_until_the_server_says_that_it_has_ended() -> None:
    """A finalizer may hold it."""
    kept = cache()
    kept.put(pod(1))
    kept.drop("u")
    kept.put(pod(2))
    assert list(kept) == ["p"]
    kept.ended("u")
    assert list(kept) == []


def test_a_list_is_believed_above_all() -> None:
    """What etcd held is restored."""
    kept = cache()
    kept.put(pod(3))
    kept.ended("u")
    kept.replace([kept.reduce(pod(1))], begun_at=5)
    assert list(kept) == ["p"]
