"""A worker's messages bring no number that a sum, a division or a date fails on."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from trunkline.contracts import errors, messages
from trunkline.contracts.attempts import Ledger
from trunkline.contracts.messages import Claim, DatumTask, Event, LogLine, Outcome

WRITTEN_BY_WORKERS = (Outcome, Claim, LogLine, Ledger, Event)
ATTEMPT = {"worker": "w-0", "incarnation": "i", "started_ns": 1}
IMPOSSIBLE = [b"9" * 400, b"-9223372036854775809", b"1e300", b"9223372036854775808"]


def numbers(kind: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield where a message has numbers."""
    match kind:
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from numbers(field.type, f"{path}.{field.name}")
        case inspect.UnionType(types=types):
            for each in types:
                yield from numbers(each, path)
        case inspect.VarTupleType(item_type=item):
            yield from numbers(item, f"{path}[]")
        case inspect.IntType() | inspect.FloatType():
            yield path, kind
        case _:
            assert isinstance(
                kind,
                inspect.StrType
                | inspect.BoolType
                | inspect.NoneType
                | inspect.EnumType
                | inspect.DictType,
            ), (path, kind)


@pytest.mark.parametrize("kind", [*WRITTEN_BY_WORKERS, DatumTask])
def test_each_number_of_a_message_has_bounds(kind: type) -> None:
    found = dict(numbers(inspect.type_info(kind), kind.__name__))
    assert len(found) >= 2
    assert [path for path, each in found.items() if each.ge is None] == []
    assert [path for path, each in found.items() if each.le is None and each.lt is None] == []


@pytest.mark.parametrize("number", IMPOSSIBLE)
@pytest.mark.parametrize("name", ["started_ns", "ended_ns", "exit_code"])
def test_a_ledger_with_an_impossible_number_cannot_be_read(name: str, number: bytes) -> None:
    attempt = {**ATTEMPT, name: msgspec.Raw(number)}
    data = msgspec.json.encode({"type": "attempt-ledger.v1", "attempts": [attempt]})
    with pytest.raises(errors.MalformedMessageError, match=name):
        messages.decode("a.subject", data, Ledger)


def test_what_processes_end_with_is_possible() -> None:
    for code in (-11, 0, 255, 0xC0000005):
        attempt = {**ATTEMPT, "exit_code": code}
        data = msgspec.json.encode({"type": "attempt-ledger.v1", "attempts": [attempt]})
        assert messages.decode("a.subject", data, Ledger).attempts[0].exit_code == code
