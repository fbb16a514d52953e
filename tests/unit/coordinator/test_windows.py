"""Listing windows."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.coordinator.core import windows


def test_windows_double_up_to_their_full_size() -> None:
    sizes = [windows.start(n + 1) - windows.start(n) for n in range(10)]
    assert sizes == [64, 128, 256, 512, 1024, 2048, 4096, 8192, 8192, 8192]


@given(st.integers(0, 10**7))
def test_each_index_lies_in_one_window_and_a_windows_end_is_the_next_ones_start(index: int) -> None:
    number = windows.number(index)
    assert windows.start(number) <= index < windows.end(index)
    assert windows.end(index) == windows.start(number + 1)
    assert windows.number(windows.end(index)) == number + 1
