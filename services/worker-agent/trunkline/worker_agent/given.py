"""The files of one input of a datum: named in its message, or ranges of a manifest in the store.

An input may ask for its files to be there without their contents. Then each is an empty file at its
path, and a link in the output that leads to one means what is in the store: so files are given new names,
or sorted into directories, without a byte of them being moved.
"""

from collections.abc import AsyncIterator

from trunkline.contracts.messages import DatumInput, File
from trunkline.storage import keys, manifests
from trunkline.storage.manifests import Manifest
from trunkline.storage.store import Store


def shown(each: DatumInput) -> tuple[File, ...] | None:
    """Return the files as the command sees them, where the message names them; else None."""
    if each.files is None or not each.empty:
        return each.files
    return tuple(map(_emptied, each.files))


async def listed(store: Store, each: DatumInput) -> AsyncIterator[File]:
    """Yield the files as the command sees them, where the message names ranges of a manifest."""
    if each.span is None:
        return
    manifest = await manifests.open_manifest(store, each.manifest)
    for span in (each.span, *each.more):
        async for file in manifest.files(span.first, span.count):
            yield _emptied(file) if each.empty else file


class Meant:
    """Finds what the empty files of an input stand for."""

    def __init__(self, store: Store, each: DatumInput) -> None:
        self._store, self._each = store, each
        self._manifest: Manifest | None = None

    async def __call__(self, path: str) -> File | None:
        """Return the file of the input at a path; None if that is not the input's."""
        each = self._each
        if each.files is not None:
            return next((file for file in each.files if file.path == path), None)
        if self._manifest is None:
            self._manifest = await manifests.open_manifest(self._store, each.manifest)
        at = await self._manifest.position(path)
        spans = () if each.span is None else (each.span, *each.more)
        if not any(span.first <= at < span.first + span.count for span in spans):
            return None
        return await self._manifest.get(path)


def _emptied(file: File) -> File:
    return File(path=file.path, size=0, sha256=keys.EMPTY_SHA256)
