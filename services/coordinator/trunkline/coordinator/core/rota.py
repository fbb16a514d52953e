"""Whose turn it is to be looked at, where there are more than can be looked at in one go.

Those come first that nobody has looked at yet, then those that were looked at longest ago. So with n of them and
k at a time each is looked at in every ceil(n / k) goes, and a new one before all others.
"""

import heapq
from collections.abc import Collection


class Rota:
    """See the module. A cache: forgotten, all are looked at anew."""

    def __init__(self) -> None:
        self._number = 0
        self._looked: dict[str, int] = {}
        """In which go each was looked at last; of those that are there."""

    def next(self, there: Collection[str], most: int) -> list[str]:
        """Return who is looked at now.

        Args:
            there: All that there are, in any order.
            most: How many at a time.
        """
        self._number += 1
        known = {each: self._looked.get(each, 0) for each in there}
        chosen = heapq.nsmallest(most, known, key=known.__getitem__)
        known |= dict.fromkeys(chosen, self._number)
        self._looked = {each: number for each, number in known.items() if number}
        return chosen
