"""What the docs and editors are told of specs is what the parser does."""

import json
import random
from typing import Any

import msgspec
import pytest
from tests.support import schema_walk, spec_fuzz, spec_pages, spec_schema
from tests.support.specs import GOOD, changed, pfs, transform

from trunkline.contracts import errors, spec_parsing
from trunkline.contracts.spec_sections import Effect

SCHEMA = spec_schema.schema()

GOODS: list[Any] = [
    GOOD,
    *spec_fuzz.SEEDS,
    {"name": "short", "transform": {"cmd": ["x"]}, "input": {"pfs": {"repo": "a", "glob": "/"}}},
    changed(parallelism_spec=None, datumTries="5", standby=None, **{"$schema": "x"}),
    changed(parallelismSpec={"constant": 2.0}, egress=None, s3_out=False, reprocess=False),
    changed(
        datum_timeout="1h30m", jobTimeout=".5s", cacheSize="64M", hashtree_spec={"constant": 1}
    ),
    changed(resource_requests={"cpu": 0.5, "memory": 1000, "disk": "1G"}),
    changed(input=pfs(commit="", lazy=None)),
]
BADS: list[Any] = [
    {},
    [],
    5,
    None,
    changed(imput={}),
    changed(input=None),
    changed(transform={}),
    transform(cmd="x"),
    transform(cmd=[None]),
    transform(env={"A": None}),
    transform(env={"A": 1}),
    transform(acceptReturnCode=[256]),
    changed(parallelism_spec={"constant": 0}),
    changed(parallelism_spec={"constant": True}),
    changed(parallelism_spec={"coefficient": 0}),
    changed(datum_tries=1.5),
    changed(datum_timeout="5 minutes"),
    changed(datum_timeout=300),
    changed(reprocess_spec="never"),
    changed(egress={}),
    changed(s3_out=True),
    changed(spout={}),
    changed(input=pfs(s3=True)),
    changed(input={"cross": [pfs(), {"pfs": {"repo": "a"}}]}),
    changed(resource_limits={"gpu": {"number": 1}}),
    changed(tolerations={}),
]


def fits(document: Any) -> bool:
    return schema_walk.fits(document, SCHEMA, SCHEMA)


def problems(document: Any) -> list[tuple[str, str]]:
    try:
        spec_parsing.convert(document)
    except errors.InvalidSpecError as error:
        return error.problems
    return []


def test_the_pages_are_those_of_the_code():
    for path, wanted in spec_pages.pages().items():
        assert path.read_text() == wanted, f"{path.name}: run `make docs`"


def test_each_field_is_in_the_page_with_what_becomes_of_it():
    page = spec_pages.PAGE.read_text()
    for section in spec_schema.sections():
        for each in section.fields:
            assert f"| `{each.name}`" in page
            assert each.about or each.why
            assert bool(each.why) == (each.effect in (Effect.UNUSED, Effect.REFUSED)), each.name


def test_the_tables_and_the_structs_have_the_same_fields():
    for section in spec_schema.sections():
        struct = spec_pages.STRUCTS.get(section.name)
        named = {each.attribute for each in section.fields} - {None}
        if struct is None:
            assert named <= {"name"}
        else:
            fields = {each.name for each in msgspec.structs.fields(struct)}
            assert fields - {"unused"} == named, section.name


def test_no_two_fields_of_a_section_have_a_name_in_common():
    for section in spec_schema.sections():
        names = [name for each in section.fields for name in each.spellings]
        assert len(names) == len(set(names)), section.name


@pytest.mark.parametrize("document", GOODS)
def test_a_good_spec_fits_the_schema(document):
    assert problems(document) == []
    assert fits(document)
    assert fits([document, document])


@pytest.mark.parametrize("document", BADS)
def test_a_spec_of_the_wrong_shape_does_not_fit_the_schema(document):
    assert problems(document)
    assert not fits(document)


def test_mutated_specs_are_judged_alike():
    chance, taken, unknown = random.Random(3), 0, 0
    for _ in range(3000):
        document = spec_fuzz.mutated(chance)
        found = problems(document)
        if not found:
            taken += 1
            assert fits(document), document
        elif any(text.startswith(("unknown field", "is missing")) for _, text in found):
            unknown += 1
            assert not fits(document), (document, found)
    assert taken > 100
    assert unknown > 300


def test_the_schema_is_json():
    assert json.loads(spec_pages.SCHEMA.read_text()) == SCHEMA
