"""From the files of a job's input to its datums, in their one order.

The files of an input commit's manifest go in, some at a time, in the manifest's order; parts of datums
come out where the glob's matches end (`globs.Walk`). `inputs` combines the parts of several inputs (a
cross, a union, a join, a group) and numbers the datums from 0. So a listing is a function of the commits and the spec
alone: made again, after a crash or for a repair, it gives the same indexes, ids and fingerprints.
Memory is that of one path's ancestors, however many files a datum has: of a datum's files a few are
kept, to stand in its message; more are named by their range in the manifest.

All of this is done for each datum of each job, so what is made here for one is two small structs and
three hashes.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from trunkline.contracts import globs, messages, names, records
from trunkline.contracts.attempts import Attempt
from trunkline.contracts.messages import DatumInput, DatumTask, File, Span
from trunkline.coordinator.core import keys


class Source(msgspec.Struct, frozen=True, gc=False):
    """One input of a job, as the listing needs it."""

    name: str
    glob: str
    commit: str
    manifest: str
    number: int = 0
    """Position among the job's inputs."""
    join_on: str = ""
    group_by: str = ""
    outer_join: bool = False
    reference: bool = False
    empty: bool = False
    """Whether the command sees its files without their contents."""

    @property
    def plain(self) -> bool:
        """Whether a message says nothing more of it than where its files are."""
        return not (self.empty or self.join_on or self.group_by)


class Several(msgspec.Struct, frozen=True, gc=False):
    """What a part of several matches has beside what its last match has."""

    id: str
    """Hash over the paths of all matches."""
    matches: int
    spans: tuple[Span, ...]
    """Where its files lie in `manifest`: in order and apart."""
    manifest: str


class Part(msgspec.Struct, frozen=True, gc=False):
    """What one input gives to a datum."""

    source: Source
    path: str
    """What the glob matched."""
    first: int
    """Position in the manifest of the first of its files."""
    count: int
    files: tuple[File, ...] | None
    """The files, where they are few."""
    contents: str
    """Hash over the paths and contents of its files; empty if those do not count."""
    size: int
    """Bytes of all of its files."""
    several: Several | None = None
    """Set in a group, if there is more than one match; then `path` is the last one's."""

    @property
    def paths(self) -> str:
        """What it is, for people."""
        more = f" and {self.several.matches - 1} more" if self.several is not None else ""
        return self.path + more

    @property
    def spans(self) -> tuple[Span, ...]:
        """Where its files lie in `manifest`."""
        if self.several is not None:
            return self.several.spans
        return (Span(first=self.first, count=self.count),)

    @property
    def manifest(self) -> str:
        """The manifest that holds its files."""
        return self.source.manifest if self.several is None else self.several.manifest

    def input(self, *, inline: bool) -> DatumInput:
        """Return what a message says of it: with the files themselves, where they are kept."""
        source = self.source
        name, path, commit = source.name, self.path, source.commit
        if inline and self.files is not None:
            found = DatumInput(name=name, path=path, commit=commit, files=self.files)
        else:
            manifest, (span, *more) = self.manifest, self.spans
            found = DatumInput(
                name=name, path=path, commit=commit, manifest=manifest, span=span, more=tuple(more)
            )
        return found if source.plain else self._told(found)

    def _told(self, found: DatumInput) -> DatumInput:
        """Return what a message says, with what it says of some inputs only."""
        source = self.source
        return msgspec.structs.replace(
            found,
            join_on=keys.key(source.glob, source.join_on, self.path),
            group_by=keys.key(source.glob, source.group_by, self.path),
            empty=source.empty,
        )


class Datum(msgspec.Struct, frozen=True, gc=False):
    """One datum of a listing."""

    index: int
    id: str
    fingerprint: bytes
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes that are fetched for it."""
        return sum([each.size for each in self.parts if not each.source.empty])

    @property
    def paths(self) -> str:
        """What its inputs are, for people."""
        return ", ".join(each.paths for each in self.parts)


@dataclass(slots=True)
class _Open:
    """A directory that matches and whose files are still coming."""

    match: globs.Match
    contents: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    files: list[File] = field(default_factory=list)
    size: int = 0

    def add(self, file: File) -> None:
        """Take one of its files."""
        self.size += file.size
        self.contents.update(_contents(file))
        if len(self.files) <= messages.INLINE_FILES:
            self.files.append(file)


class Leaf:
    """Makes parts of one input's files; see the module's docstring."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._walk = globs.Walk(globs.compile(source.glob))
        self._open: list[_Open] = []

    def feed(self, files: Iterable[File]) -> list[Part]:
        """Take the next files; return the parts that are complete now."""
        found: list[Part] = []
        walk = self._walk
        for file in files:
            for match in walk.feed(file.path):
                if self._open and self._open[-1].match is match:
                    found.append(self._directory(self._open.pop()))
                else:
                    found.append(self._file(match, file))
            if walk.open:
                self._add(file)
        return found

    def finish(self) -> list[Part]:
        """Return the parts that end where the files end."""
        return [self._directory(self._open.pop()) for _ in self._walk.finish()]

    def _add(self, file: File) -> None:
        """Take a file into each directory that it lies in and that matches."""
        for depth, match in enumerate(self._walk.open):
            if depth == len(self._open):
                self._open.append(_Open(match))
            self._open[depth].add(file)

    def _file(self, match: globs.Match, file: File) -> Part:
        contents = "" if self._source.reference else hashlib.sha256(_contents(file)).hexdigest()
        return Part(
            self._source, match.path, match.first, match.count, (file,), contents, file.size
        )

    def _directory(self, ended: _Open) -> Part:
        match = ended.match
        contents = "" if self._source.reference else ended.contents.hexdigest()
        few = len(ended.files) <= messages.INLINE_FILES
        files = tuple(ended.files) if few else None
        size = ended.size
        return Part(self._source, match.path, match.first, match.count, files, contents, size)


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

    def datums(self, combined: Sequence[tuple[Part, ...]]) -> list[Datum]:
        """Return those of the next datums that are wanted."""
        first, self.count = self.count, self.count + len(combined)
        return [
            self._datum(index, parts)
            for index, parts in enumerate(combined, first)
            if self._wanted(index)
        ]

    def _datum(self, index: int, parts: tuple[Part, ...]) -> Datum:
        identifier = names.datum_id(
            [
                (each.source.name, each.path if each.several is None else each.several.id)
                for each in parts
            ]
        )
        contents = [each.contents for each in parts]
        fingerprint = names.fingerprint(identifier, contents, self._salt, self._code_hash)
        return Datum(index, identifier, fingerprint, parts)


def message(
    job: records.Job, datum: Datum, generation: int, round_: int, beside: Attempt | None = None
) -> bytes:
    """Return the message that asks for a datum: with its files if they are few and it stays small.

    Args:
        job: Of the datum.
        datum: The one.
        generation: Its generation.
        round_: Which round of repair it is put in.
        beside: Of a copy: the attempt that takes too long.
    """
    task = DatumTask(
        pipeline=job.pipeline,
        job=job.id,
        index=datum.index,
        datum=datum.id,
        fingerprint=datum.fingerprint.hex(),
        inputs=tuple([each.input(inline=True) for each in datum.parts]),
        generation=generation,
        round=round_,
        beside=beside,
    )
    data = messages.encode(task)
    if len(data) <= messages.MESSAGE_MAX_BYTES:
        return data
    inputs = tuple([each.input(inline=False) for each in datum.parts])
    return messages.encode(msgspec.structs.replace(task, inputs=inputs))


def message_id(job: str, index: int, generation: int, round_: int, count: int = 1) -> str:
    """Return the Nats-Msg-Id of a message: the same for each time it is put in its round.

    Args:
        job: The job's id.
        index: Of its first datum.
        generation: Of that datum.
        round_: The round.
        count: How many datums it holds: a set that was cut otherwise is another message.
    """
    held = f"{index}+{count}" if count > 1 else str(index)
    return f"{job}/{held}/{generation}.{round_}"


def _contents(file: File) -> bytes:
    """Return what a hash over contents takes of a file: its path, and the hash of its bytes."""
    path = file.path.encode()
    return b"%d:%b%b;" % (len(path), path, file.sha256.encode())
