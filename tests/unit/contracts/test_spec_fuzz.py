"""Whatever is sent: a spec, or a refusal that can be told; and no more work than its size allows."""

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support import spec_fuzz
from tests.support.specs import GOOD, changed, pfs, transform
from tests.support.steps import steps

from trunkline.contracts import errors, globs, schedules, spec, spec_parsing, spec_tables

STEPS_PER_BYTE = 10
STEPS_AT_LEAST = 20_000
"""Calls of functions, Python's and C's. What one glob and one schedule cost is bounded apart."""


def only_refuses(parse: Callable[[Any], spec.PipelineSpec], value: Any) -> spec.PipelineSpec | None:
    """Return the spec, if it is one; check that it can be stored, or that the refusal can be told."""
    refusal, taken = None, None
    try:
        taken = parse(value)
    except errors.InvalidSpecError as error:
        refusal = error
    if taken is None:
        assert refusal is not None
        assert 1 <= len(refusal.problems) <= 101
        for path, text in refusal.problems:
            assert path.startswith("$")
            assert text
            (path + text).encode()
        return None
    assert msgspec.json.decode(msgspec.json.encode(taken), type=spec.PipelineSpec) == taken
    spec.code_hash(taken.transform)
    list(spec_tables.used_fields(taken))
    for _, leaf in spec.leaves(taken.input):
        globs.compile(leaf.glob)
    return taken


def fuzz(seed: int, count: int) -> tuple[int, int]:
    """Send so many documents and texts; return how many were taken and refused."""
    chance, taken = random.Random(seed), 0
    for _ in range(count // 2):
        taken += only_refuses(spec_parsing.convert, spec_fuzz.mutated(chance)) is not None
        taken += only_refuses(spec_parsing.parse, spec_fuzz.garbled(chance)) is not None
    return taken, count - taken


def test_thousands_of_mutated_specs_are_specs_or_refused():
    taken, refused = fuzz(1, 3000)
    assert taken > 100, "the mutations leave something to be taken"
    assert refused > 1000


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(2, 12))
def test_a_hundred_thousand_mutated_specs_are_specs_or_refused(seed):
    taken, refused = fuzz(seed, 10_000)
    assert taken
    assert refused


HOSTILE: dict[str, Any] = {
    "unknown fields": {f"unknown{n}": n for n in range(20_000)},
    "wrong items": transform(cmd=[1] * 60_000),
    "wrong values": transform(env={f"A{n}": n for n in range(20_000)}),
    "good values": transform(env={f"A{n}": "x" for n in range(20_000)}),
    "NUL everywhere": transform(cmd=["\0"] * 40_000),
    "a long name": {"x" * 400_000: 1},
    "a long value": changed(pipeline={"name": "x" * 400_000}),
    "long text": changed(description="\u00e9" * 60_000),
    "a long glob": changed(input=pfs(repo="x" * 100_000, glob="[" * 200_000)),
    "long variable": transform(env={"=" * 400_000: "x"}),
    "inputs": changed(input={"union": [pfs(glob="/{a,b}*")] * 8000}),
    "nested inputs": changed(input=json.loads('{"union":[' * 40 + '{"cross":[]}' + "]}" * 40)),
    "secrets": transform(secrets=[{"name": "a"}] * 20_000),
    "tolerations": changed(tolerations=[{"operator": "EXISTS"}] * 15_000),
    "deep": json.loads("[" * 900 + "]" * 900),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_work_is_bounded_by_the_size(name):
    text = json.dumps(HOSTILE[name]).encode()
    most = STEPS_AT_LEAST + STEPS_PER_BYTE * len(text)
    assert steps(lambda: only_refuses(spec_parsing.parse, text)) < most


@pytest.mark.parametrize(
    "text",
    ["[" * 60_000, "- " * 60_000, "a: " * 30_000, "a: &a x\n" * 10_000, "{}\n" * 40_000, "- x\n" * 30_000,
     "? " * 40_000, "'" * 100_000, "---\n" * 30_000, "\n" * 120_000, "#\n" * 60_000, "|\n" + " x\n" * 30_000],
)  # fmt: skip
def test_the_work_on_yaml_is_bounded_by_the_size(text):
    most = STEPS_AT_LEAST + STEPS_PER_BYTE * len(text)
    assert steps(lambda: only_refuses(spec_parsing.parse, text.encode())) < most


def test_the_work_on_a_glob_and_on_a_schedule_is_bounded():
    for pattern in ("/" + "*a" * 99, "/" + "{a,b}" * 200, "/" + "**/" * 99 + "x"):
        assert steps(lambda: globs.compile(pattern)) < 50_000  # noqa: B023
    for schedule in ("0 0 29 2 *", "* * * * *", "@every 8760h"):
        assert steps(lambda: schedules.parse(schedule)) < 10_000  # noqa: B023


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-5, 300),
    st.integers(4000, 5000).map(lambda n: 10**n),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.dates(),
    st.sampled_from(["/*", "a", "out", "5m", "\0", "\ud800", "", "/"]),
)
fields = st.sampled_from(spec_fuzz.NAMES)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(fields, scalars.filter(lambda v: v == v)), inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=200)
@given(documents)
def test_any_document_is_a_spec_or_refused(document):
    only_refuses(spec_parsing.convert, document)


@settings(max_examples=200)
@given(
    st.dictionaries(fields, documents, max_size=3),
    st.dictionaries(fields, documents, max_size=2),
    st.dictionaries(fields, documents, max_size=2),
)
def test_a_good_spec_with_anything_added_is_a_spec_or_refused(top, code, leaf):
    document = {
        **GOOD,
        "transform": {**GOOD["transform"], **code},
        "input": pfs(**leaf),
        **top,
    }
    only_refuses(spec_parsing.convert, document)


@settings(max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(alphabet="{}[]:,-&*!|>'\"# \n\tab0.~?%@`\\", max_size=40).map(str.encode),
    )
)
@example(b"x: 1:59:59:59:59:59")
@example(b"<<: {a: b}")
@example(b"? !!set {a}")
@example(b"a: !!timestamp x")
@example(b"a: 0x" + b"f" * 9000)
@example(b"a: " + b"9" * 9000)
@example(b"datum_tries: 0x" + b"f" * 9000)
@example(b"{" + b'"a":1,' * 2000 + b"}")
def test_any_bytes_are_a_spec_or_refused(data):
    only_refuses(spec_parsing.parse, data)
