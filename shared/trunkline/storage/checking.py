"""The check of a manifest that somebody else has written: every entry, before anybody relies on it.

A block is checked as a whole, by a handful of operations over all of its keys at once, since a commit
of a million files waits for this. Only a block that fails is gone through file by file, to name the
one that is wrong.
"""

import operator
import re
from collections.abc import Sequence
from itertools import compress, pairwise

import msgspec

from trunkline.contracts import bounds, errors, names
from trunkline.storage import manifests, runs
from trunkline.storage.manifests import EMPTY, Entry, Written
from trunkline.storage.store import Store

_KEYS = re.compile(rb"(?:(?:\0(?!\.\.?[\0\n])[^\0-\x1f\x7f/]{1,%d}+)++\n)++" % names.PART_MAX_BYTES)
"""Keys of paths as `names.path` has them, but for their length and encoding; a line each."""


async def check(store: Store, manifest: str) -> Written:
    """Read a manifest to its end; return how many files and bytes it has.

    Raises:
        InvalidPathError: a path cannot be in a manifest, or not where it stands.
        MalformedMessageError: it is no manifest.
        NotFoundError, CorruptObjectError: it cannot be read.
    """
    if manifest == EMPTY:
        return Written(manifest=EMPTY, files=0, size=0)
    run = await runs.open_run(store, manifest)
    files, size, last = 0, 0, b""
    async for keys, values in run.batches():
        try:
            entries = list(map(manifests.entry, values))
            in_order = [last, *keys] if last else keys
            if not (_are_paths(keys) and _are_sorted(in_order) and _are_possible(entries)):
                _name_the_fault(in_order, keys, entries)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise errors.MalformedMessageError(manifest, f"it is no manifest: {error}") from error
        files += len(keys)
        size += sum(each.size for each in entries)
        last = keys[-1]
        if size > bounds.MOST:
            raise errors.MalformedMessageError(manifest, "its files are larger than any store")
    return Written(manifest=manifest, files=files, size=size)


def _are_paths(keys: Sequence[bytes]) -> bool:
    lines = b"\n".join(keys) + b"\n"
    return (
        max(map(len, keys)) <= names.PATH_MAX_BYTES
        and lines.count(b"\n") == len(keys)
        and _KEYS.fullmatch(lines) is not None
        and bool(lines.decode())
    )


def _are_sorted(keys: Sequence[bytes]) -> bool:
    """Whether each key is higher than the one before, and does not lie below it."""
    following = keys[1:]
    if not all(map(operator.lt, keys, following)):
        return False
    longer = compress(pairwise(keys), map(bytes.startswith, following, keys))
    return all(after[len(before)] for before, after in longer)


def _are_possible(entries: Sequence[Entry]) -> bool:
    return all(
        each.size >= 0 and each.offset >= 0 and (each.object or not each.size) for each in entries
    )


def _name_the_fault(
    in_order: Sequence[bytes], keys: Sequence[bytes], entries: Sequence[Entry]
) -> None:
    """Raise for the first file of a block that cannot stand there."""
    for key, entry in zip(keys, entries, strict=True):
        path = names.path_of_key(key)
        if names.path(path) != path or names.path_key(path) != key:
            raise errors.InvalidPathError(path, "it is not in its one form")
        if not _are_possible([entry]):
            raise errors.InvalidPathError(path, "its size or its place in the store cannot be")
    for pair in pairwise(in_order):
        if not _are_sorted(pair):
            path = names.path_of_key(pair[1])
            raise errors.InvalidPathError(path, "it is there twice, not sorted, or below a file")
