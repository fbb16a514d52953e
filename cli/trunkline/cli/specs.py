"""Spec files: what is in them, and whether it is valid, without an installation."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from trunkline.cli import render, saying
from trunkline.cli.options import Asked
from trunkline.contracts import errors, spec_parsing
from trunkline.contracts.spec_findings import Problem
from trunkline.coordinator.core import admission, pipelines


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said of one spec; or of a whole file, as number 0, if it cannot be read."""

    file: str
    number: int
    """Its position in the file, from 1: documents and the items of an array are counted alike."""
    pipeline: str = ""
    problems: tuple[Problem, ...] = ()
    """None if it is valid."""
    warnings: tuple[str, ...] = ()
    """Fields that have no effect anywhere."""


def documents(file: str) -> list[bytes]:
    """Return each spec in a file as JSON; `-` is stdin.

    Raises:
        InvalidSpecError: The text cannot be read, or JSON could not say what one of them says.
    """
    found = spec_parsing.documents(_read(file))
    for document in found:
        spec_parsing.check_text(document)
    return [msgspec.json.encode(document) for document in found]


def validate(asked: Asked, files: tuple[str, ...]) -> None:
    """Say of each spec in each file whether it is valid, and if not, all that is wrong with it."""
    verdicts = [verdict for file in files for verdict in verdicts_of(file)]
    if not render.records(asked, verdicts):
        for verdict in verdicts:
            _tell(verdict)
    if any(verdict.problems for verdict in verdicts):
        raise SystemExit(1)


def verdicts_of(file: str) -> Iterator[Verdict]:
    """Yield what is to be said of each spec in a file."""
    try:
        found = spec_parsing.documents(_read(file))
    except errors.InvalidSpecError as error:
        yield Verdict(file=file, number=0, problems=_named(error.problems))
    except OSError as error:
        yield Verdict(file=file, number=0, problems=_named([("", error.strerror or str(error))]))
    else:
        for number, document in enumerate(found, start=1):
            yield _verdict(file, number, document)


def _verdict(file: str, number: int, document: object) -> Verdict:
    name = pipelines.name_in(document) or ""
    try:
        wanted = spec_parsing.convert(document)
    except errors.InvalidSpecError as error:
        problems = _named(error.problems)
        return Verdict(file=file, number=number, pipeline=name, problems=problems)
    return Verdict(
        file=file,
        number=number,
        pipeline=name,
        problems=_named(admission.refusals(wanted)),
        warnings=admission.without_effect(wanted, local=False),
    )


def _named(problems: Iterable[tuple[str, str]]) -> tuple[Problem, ...]:
    return tuple(Problem(*each) for each in problems)


def _tell(verdict: Verdict) -> None:
    where = f"{verdict.file}: spec {verdict.number}" if verdict.number else verdict.file
    for path, text in verdict.problems:
        saying.tell(f"{where}: {path}: {text}" if path else f"{where}: {text}")
    for field in verdict.warnings:
        render.warn(f"{where}: {field} has no effect")
    if not verdict.problems:
        saying.say(f"{where}: pipeline {verdict.pipeline} is valid")


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
