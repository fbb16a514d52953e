"""Log records have keys that are listed, so that the same one means the same thing everywhere."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from trunkline.runtime import log_keys

ROOT = Path(__file__).parents[3]
ROOMS = ("cli", "services", "shared")
PASSED_ON = "more"
"""What `named` functions are called with; it is looked at where they are called."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def keys_of(value: ast.expr, function: Function) -> Iterator[str]:
    """Yield the keys of what is given as `extra`; of what cannot be looked through, its text."""
    match value:
        case ast.Dict(keys, values):
            for key, each in zip(keys, values, strict=True):
                match key:
                    case ast.Constant(str(name)):
                        yield name
                    case None:
                        yield from keys_of(each, function)
                    case _:
                        yield ast.unparse(key)
        case ast.Name(name) if name != PASSED_ON:
            found = list(assigned(name, function))
            for each in found:
                yield from keys_of(each, function)
            if not found:
                yield f"{name}, which is not made there"
        case ast.Call(func, _, keywords) if ast.unparse(func).endswith("named"):
            yield from (str(each.arg) for each in keywords)
        case ast.Name():
            pass
        case _:
            yield ast.unparse(value)


def assigned(name: str, function: Function) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        match node:
            case ast.Assign([ast.Name(target)], value) if target == name:
                yield value
            case ast.AnnAssign(ast.Name(target), _, ast.expr() as value) if target == name:
                yield value


@functools.cache
def used() -> frozenset[tuple[str, str]]:
    """Return each key that a log call in our code has, with where."""
    return frozenset(found())


def found() -> Iterator[tuple[str, str]]:
    for path in (each for room in ROOMS for each in (ROOT / room).rglob("*.py")):
        text = path.read_text()
        if "extra=" not in text and "def named" not in text:
            continue
        for function in ast.walk(ast.parse(text)):
            if not isinstance(function, Function):
                continue
            returns = function.returns and ast.unparse(function.returns)
            named = function.name.endswith("named") and returns == "dict[str, object]"
            for node in ast.walk(function):
                value = None
                if (isinstance(node, ast.keyword) and node.arg == "extra") or (
                    named and isinstance(node, ast.Return)
                ):
                    value = node.value
                for key in keys_of(value, function) if value is not None else ():
                    yield key, f"{path.relative_to(ROOT)}:{value.lineno if value else 0}"


def test_each_key_that_is_logged_is_listed() -> None:
    unknown = {(key, where) for key, where in used() if key not in log_keys.KEYS}
    assert unknown == set()


def test_none_is_a_key_of_the_record_itself() -> None:
    assert not log_keys.KEYS.keys() & log_keys.STANDARD.keys()


def test_each_key_that_is_listed_is_logged() -> None:
    of_pacing = {"phrase", "records"}  # set on the record itself
    assert set(log_keys.KEYS) - {key for key, _ in used()} == of_pacing


def test_the_page_lists_them_with_what_they_mean() -> None:
    page = (ROOT / "docs" / "logs.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for keys in (log_keys.STANDARD, log_keys.KEYS):
        for key, meaning in keys.items():
            assert f"| `{key}` | {meaning} |" in rows
