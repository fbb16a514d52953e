"""What streams are like at each level, and what falls short of it."""

import pytest

from trunkline.contracts.durability import Durability


@pytest.mark.parametrize(
    ("level", "storage", "copies", "sync_interval"),
    [
        ("memory", "memory", 1, "10s"),
        ("file", "file", 1, "10s"),
        ("synced", "file", 1, "always"),
        ("replicated", "file", 3, "10s"),
        ("replicated-synced", "file", 3, "always"),
    ],
)
def test_a_level_says_how_streams_are_kept(level, storage, copies, sync_interval) -> None:
    stated = Durability(level)
    assert (stated.storage, stated.copies, stated.sync_interval) == (storage, copies, sync_interval)
    assert stated.shortfall(storage, copies) == ""


def test_what_falls_short_is_told_and_what_is_more_is_not() -> None:
    assert "1 copy" in Durability.REPLICATED.shortfall("file", 1)
    assert "memory" in Durability.FILE.shortfall("memory", 1)
    assert Durability.MEMORY.shortfall("file", 3) == ""
