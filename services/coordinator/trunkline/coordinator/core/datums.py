"""From the files of a job's input to its datums, in their one order.

The files of the input commit's manifest go in one at a time, in the manifest's order; datums come
out where the glob's matches end (`globs.Walk`), numbered from 0. So a listing is a function of the
commit and the spec alone: made again, after a crash or for a repair, it gives the same indexes, ids
and fingerprints. Memory is that of one path's ancestors, however many files a datum has: of a
datum's files a few are kept, to stand in its message; more are named by their range in the manifest.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from trunkline.contracts import globs, messages, names, records
from trunkline.contracts.messages import DatumInput, DatumTask, File, Span


@dataclass(frozen=True, slots=True)
class Source:
    """One input of a job, as the listing needs it."""

    name: str
    glob: str
    commit: str
    manifest: str


@dataclass(frozen=True, slots=True)
class Datum:
    """One datum of a listing."""

    index: int
    id: str
    fingerprint: bytes
    inputs: tuple[DatumInput, ...]
    """Each with its span; with its files, too, where they are few."""

    @property
    def paths(self) -> str:
        """What its inputs are, for people."""
        return ", ".join(each.path for each in self.inputs)


@dataclass(slots=True)
class _Open:
    """A directory that matches and whose files are still coming."""

    match: globs.Match
    contents: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    files: list[File] = field(default_factory=list)

    def add(self, file: File) -> None:
        """Take one of its files."""
        _update(self.contents, file)
        if len(self.files) <= messages.INLINE_FILES:
            self.files.append(file)


class Listing:
    """Makes datums of files; see the module's docstring.

    Args:
        source: The input.
        salt: The pipeline's.
        code_hash: Of the code that will run.
        wanted: Which indexes to return datums for; the others are counted only.
    """

    def __init__(
        self, source: Source, salt: str, code_hash: str, wanted: Callable[[int], bool]
    ) -> None:
        self._source, self._salt, self._code_hash = source, salt, code_hash
        self._wanted = wanted
        self._walk = globs.Walk(globs.compile(source.glob))
        self._open: list[_Open] = []
        self.count = 0
        """How many datums there are so far, wanted or not."""

    def feed(self, file: File) -> list[Datum]:
        """Take the next file; return the wanted datums that are complete now."""
        found = [
            datum for match in self._walk.feed(file.path) for datum in self._ended(match, file)
        ]
        for depth, match in enumerate(self._walk.open):
            if depth == len(self._open):
                self._open.append(_Open(match))
            self._open[depth].add(file)
        return found

    def finish(self) -> list[Datum]:
        """Return the wanted datums that end where the files end."""
        return [datum for match in self._walk.finish() for datum in self._ended(match, None)]

    def _ended(self, match: globs.Match, file: File | None) -> list[Datum]:
        index, self.count = self.count, self.count + 1
        if self._open and self._open[-1].match is match:
            ended = self._open.pop()
            return [self._datum(index, ended)] if self._wanted(index) else []
        if file is None or not self._wanted(index):
            return []
        single = _Open(match)
        single.add(file)
        return [self._datum(index, single)]

    def _datum(self, index: int, ended: _Open) -> Datum:
        source, match = self._source, ended.match
        identifier = names.datum_id(((source.name, match.path),))
        contents = (ended.contents.hexdigest(),)
        few = len(ended.files) <= messages.INLINE_FILES
        chosen = DatumInput(
            name=source.name,
            path=match.path,
            commit=source.commit,
            files=tuple(ended.files) if few else None,
            manifest=source.manifest,
            span=Span(first=match.first, count=match.count),
        )
        return Datum(
            index=index,
            id=identifier,
            fingerprint=names.fingerprint(identifier, contents, self._salt, self._code_hash),
            inputs=(chosen,),
        )


def message(job: records.Job, datum: Datum, generation: int, round_: int) -> bytes:
    """Return the message that asks for a datum: with its files if they are few and it stays small."""
    task = DatumTask(
        pipeline=job.pipeline,
        job=job.id,
        index=datum.index,
        datum=datum.id,
        fingerprint=datum.fingerprint.hex(),
        inputs=tuple(_brief(each, inline=True) for each in datum.inputs),
        generation=generation,
        round=round_,
    )
    data = messages.encode(task)
    if len(data) <= messages.MESSAGE_MAX_BYTES:
        return data
    inputs = tuple(_brief(each, inline=False) for each in datum.inputs)
    return messages.encode(msgspec.structs.replace(task, inputs=inputs))


def message_id(job: str, index: int, generation: int, round_: int) -> str:
    """Return the Nats-Msg-Id of a datum's message: the same for each time it is put in its round."""
    return f"{job}/{index}/{generation}.{round_}"


def _brief(each: DatumInput, *, inline: bool) -> DatumInput:
    if inline and each.files is not None:
        return msgspec.structs.replace(each, manifest="", span=None)
    return msgspec.structs.replace(each, files=None)


def _update(digest: "hashlib._Hash", file: File) -> None:
    path = file.path.encode()
    digest.update(b"%d:%b%b;" % (len(path), path, file.sha256.encode()))
