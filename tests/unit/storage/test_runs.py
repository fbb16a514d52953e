import asyncio
import random

import pytest

from trunkline.contracts import errors
from trunkline.storage import runs


def item(number):
    return f"key{number:07}".encode(), b"value" * 20


async def written(store, items):
    writer = runs.RunWriter(store)
    for key, value in items:
        await writer.add(key, value, weight=len(value))
    return await writer.finish()


async def collected(iterator):
    return [each async for each in iterator]


async def test_what_was_written_is_read_in_order(store):
    items = [item(number) for number in range(5_000)]
    run = await runs.open_run(store, await written(store, items))
    assert run.count == 5_000
    assert run.weight == sum(len(value) for _, value in items)
    assert len(run.blocks) > 3
    assert await collected(run.items()) == items
    assert await collected(run.items(1_234, 10)) == items[1_234:1_244]
    assert await collected(run.items(4_990, 100)) == items[4_990:]
    assert await collected(run.items(5_000)) == await collected(run.items(9_999, 3)) == []
    assert await collected(run.items(7, 0)) == []


async def test_a_run_of_nothing_is_a_run(store):
    run = await runs.open_run(store, await written(store, []))
    assert run.count == 0
    assert await collected(run.items()) == []
    assert await run.get(b"a") is None
    assert await run.position(b"a") == 0
    assert await collected(run.scan(b"")) == []


async def test_keys_are_found_and_scanned_from(store):
    items = [item(number) for number in range(0, 4_000, 2)]
    run = await runs.open_run(store, await written(store, items))
    for number in (0, 2, 1_000, 3_998):
        assert await run.get(item(number)[0]) == item(number)[1]
        assert await run.get(item(number + 1)[0]) is None
        assert await run.position(item(number)[0]) == number // 2
        assert await run.position(item(number + 1)[0]) == number // 2 + 1
    assert await run.get(b"") is None
    assert await run.get(b"zzz") is None
    assert await collected(run.scan(item(3_001)[0])) == items[1_501:]
    assert await collected(run.scan(b"")) == items
    assert await collected(run.scan(b"zzz")) == []


async def test_keys_must_ascend(store):
    writer = runs.RunWriter(store)
    await writer.add(b"b", b"")
    for key in (b"b", b"a", b""):
        with pytest.raises(ValueError, match="does not come after"):
            await writer.add(key, b"")


async def test_one_item_more_or_less_changes_a_block_or_two(counting):
    items = [item(number) for number in range(50_000)]
    await written(counting, items)
    for at in (0, 1, 25_000, 49_999, 50_000):
        counting.reset()
        await written(
            counting,
            [*items[:at], (item(at - 1)[0] + b"!", b"new"), *items[at:]]
            if at
            else [(b"a", b"new"), *items],
        )
        assert len(counting.writes) <= 4  # with the root
        counting.reset()
        await written(counting, items[:at] + items[at + 1 :])
        assert len(counting.writes) <= 4


@pytest.mark.parametrize("value_bytes", [0, 100, 3_000, 70_000, 400_000])
async def test_blocks_have_a_sensible_size_whatever_the_items(counting, value_bytes):
    count = min(20_000, 40_000_000 // (value_bytes + 20))
    chance = random.Random(5)
    keys = sorted(chance.randbytes(16) for _ in range(count))
    run = await runs.open_run(
        counting, await written(counting, [(key, b"x" * value_bytes) for key in keys])
    )
    sizes = [block.count * (value_bytes + 26) for block in run.blocks]
    assert max(sizes) <= runs._MOST_BYTES + value_bytes + 40
    if value_bytes < 70_000:
        assert 40_000 < sum(sizes) / len(sizes) < 110_000


async def test_a_short_span_reads_a_block_or_two(counting):
    run = await runs.open_run(counting, await written(counting, map(item, range(100_000))))
    counting.reset()
    assert len(await collected(run.items(50_000, 10))) == 10
    assert len(counting.reads) <= 2
    counting.reset()
    assert len(await collected(run.items(50_010, 10))) == 10
    assert len(counting.reads) <= 1  # the last block is kept


async def test_a_reader_may_stop_early(store):
    run = await runs.open_run(store, await written(store, map(item, range(5_000))))
    async for pair in run.items():
        assert pair == item(0)
        break


async def test_an_object_that_is_no_run_is_malformed(store):
    for data in (b"", b"hello", b"\xc0", b"\x92\xa6run.v1\x91\x94\xc4\x01a\x01\x00\xc4\x01b"):
        with pytest.raises(errors.MalformedMessageError, match="no run"):
            await runs.open_run(store, await store.put(data))


async def test_a_root_that_lies_about_its_blocks_is_malformed(store):
    block = bytes.fromhex((await store.put(runs._encode([b"a", b"1"])))[-64:])
    for first, count in ((b"a", 2), (b"b", 1)):
        root = runs._Root([runs.Block(first, count, 0, block)])
        run = await runs.open_run(store, await store.put(runs._encode(root)))
        with pytest.raises(errors.MalformedMessageError):
            await collected(run.items())


async def test_a_missing_block_is_told_as_it_is_not_as_a_group(store):
    refs = [runs.Block(b"%d" % number, 1, 0, bytes([number] * 32)) for number in range(20)]
    run = await runs.open_run(store, await store.put(runs._encode(runs._Root(refs))))
    with pytest.raises(errors.NotFoundError):
        await collected(run.items())


async def test_a_cancelled_writer_leaves_nothing_that_is_seen(counting):
    writer = runs.RunWriter(counting)
    started = asyncio.Event()

    async def forever():
        number = 0
        while True:
            await writer.add(*item(number))
            number += 1
            if counting.writes:
                started.set()
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(forever())
        await started.wait()
        task.cancel()
    run = await runs.open_run(counting, await written(counting, map(item, range(10))))
    assert run.count == 10
