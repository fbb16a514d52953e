"""From the files of a job's input to its datums, in their one order.

The files of an input commit's manifest go in one at a time, in the manifest's order; parts of datums
come out where the glob's matches end (`globs.Walk`). `inputs` combines the parts of several inputs (a
cross, a union) and numbers the datums from 0. So a listing is a function of the commits and the spec
alone: made again, after a crash or for a repair, it gives the same indexes, ids and fingerprints.
Memory is that of one path's ancestors, however many files a datum has: of a datum's files a few are
kept, to stand in its message; more are named by their range in the manifest.
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


@dataclass(frozen=True, slots=True)
class Part:
    """What one input gives to a datum."""

    input: DatumInput
    """With its span; with its files, too, where they are few."""
    contents: str
    """Hash over the paths and contents of its files."""


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


class Leaf:
    """Makes parts of one input's files; see the module's docstring."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._walk = globs.Walk(globs.compile(source.glob))
        self._open: list[_Open] = []

    def feed(self, file: File) -> list[Part]:
        """Take the next file; return the parts that are complete now."""
        found = [part for match in self._walk.feed(file.path) for part in self._ended(match, file)]
        for depth, match in enumerate(self._walk.open):
            if depth == len(self._open):
                self._open.append(_Open(match))
            self._open[depth].add(file)
        return found

    def finish(self) -> list[Part]:
        """Return the parts that end where the files end."""
        return [part for match in self._walk.finish() for part in self._ended(match, None)]

    def _ended(self, match: globs.Match, file: File | None) -> list[Part]:
        if self._open and self._open[-1].match is match:
            return [self._part(self._open.pop())]
        if file is None:
            return []
        single = _Open(match)
        single.add(file)
        return [self._part(single)]

    def _part(self, ended: _Open) -> Part:
        source, match = self._source, ended.match
        few = len(ended.files) <= messages.INLINE_FILES
        chosen = DatumInput(
            name=source.name,
            path=match.path,
            commit=source.commit,
            files=tuple(ended.files) if few else None,
            manifest=source.manifest,
            span=Span(first=match.first, count=match.count),
        )
        return Part(input=chosen, contents=ended.contents.hexdigest())


class Listing:
    """Numbers the datums of a job and gives them their names.

    Args:
        salt: The pipeline's.
        code_hash: Of the code that will run.
        wanted: Which indexes to return datums for; the others are counted only.
    """

    def __init__(self, salt: str, code_hash: str, wanted: Callable[[int], bool]) -> None:
        self._salt, self._code_hash, self._wanted = salt, code_hash, wanted
        self.count = 0
        """How many datums there are so far, wanted or not."""

    def datum(self, parts: tuple[Part, ...]) -> Datum | None:
        """Return the next datum, if it is wanted."""
        index, self.count = self.count, self.count + 1
        if not self._wanted(index):
            return None
        identifier = names.datum_id((each.input.name, each.input.path) for each in parts)
        contents = tuple(each.contents for each in parts)
        return Datum(
            index=index,
            id=identifier,
            fingerprint=names.fingerprint(identifier, contents, self._salt, self._code_hash),
            inputs=tuple(each.input for each in parts),
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
