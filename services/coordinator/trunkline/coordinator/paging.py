"""Pages of lists: cut by count, and by bytes, since one record may be as large as a spec."""

from collections.abc import Iterable, Iterator

import msgspec

from trunkline.contracts import api as contract
from trunkline.coordinator.api import Answer
from trunkline.coordinator.commits import InvalidRequestError

PAGE_BYTES = 512 * 1024
"""Where a page is cut; with one more record it still fits into a NATS message."""


def limit(wanted: int) -> int:
    """Return how many entries a page may have, or raise InvalidRequestError."""
    if wanted < 1:
        raise InvalidRequestError("$.limit", f"must be at least 1, not {wanted}")
    return min(wanted, contract.PAGE_MAX)


def cut(entries: Iterable[tuple[str, msgspec.Struct]], most: int) -> Answer:
    """Return the first page of (key, entry) pairs, no longer than `most`."""
    page: list[bytes] = []
    size, last = 0, ""
    for key, entry in entries:
        data = msgspec.json.encode(entry)
        full = len(page) == most or size + len(data) > PAGE_BYTES
        if page and full:
            return Answer(_joined(page), more=True, next=last)
        page.append(data)
        size, last = size + len(data), key
    return Answer(_joined(page))


def answer(result: msgspec.Struct) -> Answer:
    """Return the answer that is one record."""
    return Answer(msgspec.json.encode(result))


def following(
    entries: Iterable[tuple[str, msgspec.Struct]], after: str
) -> Iterator[tuple[str, msgspec.Struct]]:
    """Yield the entries behind the one with this key, in a list that is not sorted by key.

    Raises:
        InvalidRequestError: there is none with this key.
    """
    found = not after
    for key, entry in entries:
        if found:
            yield key, entry
        found = found or key == after
    if not found:
        raise InvalidRequestError("$.after", f"{after[:100]!r} is not in the list (any more)")


def _joined(page: list[bytes]) -> bytes:
    return b"[" + b",".join(page) + b"]"
