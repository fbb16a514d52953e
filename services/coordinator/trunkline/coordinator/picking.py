"""Many look-ups in one run at once: each block that can hold a wanted key is read once, in order."""

import bisect
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from itertools import groupby, islice

from trunkline.storage import together
from trunkline.storage.runs import Run

_BLOCKS_AT_ONCE = 16


async def pick(run: Run, wanted: Sequence[bytes]) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """Yield the (key, value) items of a run whose keys are wanted.

    Args:
        run: Where to look.
        wanted: Keys, in order, each once.
    """
    firsts = [block.first for block in run.blocks]
    groups = (
        (number, list(keys))
        for number, keys in groupby(wanted, lambda key: bisect.bisect_right(firsts, key) - 1)
        if number >= 0
    )
    while chosen := list(islice(groups, _BLOCKS_AT_ONCE)):
        blocks = await together.run([partial(run.block, number) for number, _ in chosen])
        for (_, keys), items in zip(chosen, blocks, strict=True):
            present = items[::2]
            for key in keys:
                at = bisect.bisect_left(present, key)
                if at < len(present) and present[at] == key:
                    yield key, items[2 * at + 1]
