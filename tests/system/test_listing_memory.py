"""Memory of a listing, in a process of its own: it does not grow with the number of datums."""

import pytest
from bench import listing

GROWTH = 1.25
"""By how much the peak may be higher for the larger listing."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "small", "large"),
    [("cross", 10_000, 1_000_000), ("join", 10_000, 100_000), ("group", 10_000, 100_000)],
)
def test_the_peak_of_a_large_listing_is_that_of_a_small_one(
    kind: str, small: int, large: int, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = listing.apart(kind, small), listing.apart(kind, large)
    with capsys.disabled():
        print(
            f"\n{kind}: {one.datums} datums {one.rss_mb:.1f} MB, {other.datums} {other.rss_mb:.1f} MB"
        )
    assert other.datums >= 9 * one.datums
    assert other.rss_mb < GROWTH * one.rss_mb
