"""The external sort."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.coordinator.spooling import Spool

items = st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=8)), max_size=200)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(items, st.integers(1, 4000))
async def test_items_come_out_by_key_and_equal_keys_as_they_went_in(
    tmp_path: Path, given_items: list[tuple[bytes, bytes]], memory: int
) -> None:
    with Spool(tmp_path, piece_bytes=memory) as spool:
        for key, value in given_items:
            await spool.add(key, value)
        assert list(spool.sorted()) == sorted(given_items, key=lambda item: item[0])
    assert list(tmp_path.iterdir()) == []
