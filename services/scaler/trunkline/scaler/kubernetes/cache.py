"""What is known of one kind of objects: from lists, from a watch, and from the answers to our own writes.

A write's answer is taken at once (`assume`), so a watch that is late hides nothing that we did: a pod that
was created counts from then on, one that was deleted is on its way out. A list that was begun before the
answer came may lack the object, and does not take it away; one that was begun later does.

A watch may also be ahead of an answer: the object is made, or is told to go, and is gone before the answer is
read. What the server has said of an object's end holds, so that such an answer brings nothing back.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from trunkline.scaler.kubernetes.reading import Object

V = TypeVar("V")

_ENDED_KEPT = 10_000


class Reduced(NamedTuple, Generic[V]):
    """What is kept of an object that may be some hundred times as large."""

    uid: str
    version: str
    value: V | None


class Cache(Generic[V]):
    """Objects by uid.

    Args:
        read: Makes of an object what is kept of it; None: it is not kept.
        told: Called when that has changed with what it was and is: None before it came, and after it went.
    """

    def __init__(
        self, read: Callable[[Object], V | None], told: Callable[[V | None, V | None], None]
    ) -> None:
        self._read, self._told = read, told
        self._kept: dict[str, tuple[str, int, V]] = {}
        """uid -> (resource version, when it was assumed, what is kept)."""
        self._ended: dict[str, None] = {}
        """The uids, which are given once, of the last ones that have ended."""

    def __iter__(self) -> Iterator[V]:
        return iter([value for _, _, value in self._kept.values()])

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, uid: str) -> V | None:
        """Return what is kept of one."""
        found = self._kept.get(uid)
        return None if found is None else found[2]

    def put(self, found: Object, *, assumed_at: int = 0) -> None:
        """Take one from the watch, or (assumed) from the answer to a write at that tick."""
        self._take(self.reduce(found), assumed_at=assumed_at)

    def reduce(self, found: Object) -> Reduced[V]:
        """Return what would be kept of an object; nothing is kept yet."""
        meta = found["metadata"]
        version = str(meta.get("resourceVersion", ""))
        return Reduced(str(meta["uid"]), version, self._read(found))

    def _take(self, each: Reduced[V], *, assumed_at: int = 0) -> None:
        uid, version, value = each
        known = self._kept.get(uid)
        if uid in self._ended or (known is not None and _older(version, known[0])):
            return  # the watch is ahead of what we were answered, or behind it
        if value is None:
            self.drop(uid)
            return
        self._kept[uid] = (version, assumed_at or (known[1] if known else 0), value)
        before = known[2] if known else None
        if before != value:
            self._told(before, value)

    def ended(self, uid: str) -> None:
        """Take the server's word that one is gone for good."""
        self._ended[uid] = None
        if len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        self.drop(uid)

    def drop(self, uid: str) -> None:
        """Forget one that will be gone."""
        known = self._kept.pop(uid, None)
        if known is not None:
            self._told(known[2], None)

    def replace(self, every: Iterable[Reduced[V]], *, begun_at: int) -> None:
        """Take a whole list, begun at that tick."""
        listed: set[str] = set()
        for each in every:
            listed.add(each.uid)
            self._ended.pop(each.uid, None)
            known = self._kept.get(each.uid)
            if known is not None and known[1] < begun_at:
                # a list is the truth, even if versions have gone back (etcd was restored)
                self._kept[each.uid] = ("", known[1], known[2])
            self._take(each)
        for uid, (_, assumed_at, _) in list(self._kept.items()):
            if uid not in listed and assumed_at < begun_at:
                self.drop(uid)


def _older(version: str, known: str) -> bool:
    if not (version.isdecimal() and known.isdecimal()):
        return False
    return int(version) < int(known)
