"""Texts that anybody may send."""

import json

import pytest
import yaml
from tests.support.specs import GOOD, changed, refused

from trunkline.contracts import errors, spec_parsing, spec_reading


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \n",
        b"null",
        b"5",
        b'"text"',
        b"true",
        b"just text",
        b"[]",
        b"\xff\xfe",
        b"\x00",
        b"\x80",
        b"{",
        b"{{",
        b'{"a": NaN',
        b'{"a": Infinity}x',
        b"a: b: c",
        b"- a\nb",
        b"\tx: 1",
        b"!!python/object/apply:os.system ['true']",
        b"a: !!python/name:os.system ''",
        b"--- {}\n--- {}",
        b"---\n---\n",
        b"? [a]\n: b",
        b"a: {<<: {b: c}}",
        b"%YAML 9.9\n---\na: 1",
    ],
)
def test_a_text_that_is_no_object_is_one_problem_at_the_root(data):
    assert refused(data).keys() == {"$"}


def test_a_json_text_that_ends_too_soon_is_told_as_json():
    assert "no JSON" in refused(json.dumps(GOOD)[:-1])["$"]


def test_yaml_aliases_are_refused_before_they_are_expanded():
    bomb = "a: &a [x, x]\n" + "\n".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "aliases" in refused(bomb)["$"]


@pytest.mark.parametrize("depth", [60, 1_000, 60_000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}"), ('{"a":', "}")])
def test_deep_nesting_is_refused(depth, opening, closing):
    assert refused(f"x: {opening * depth}{closing * depth}"[: spec_reading.SPEC_MAX_BYTES])
    assert refused((opening * depth + closing * depth)[: spec_reading.SPEC_MAX_BYTES])
    assert refused(f'{{"salt": {"[" * depth}{"]" * depth}}}'[: spec_reading.SPEC_MAX_BYTES])


def test_a_document_of_a_megabyte_is_refused_without_a_look():
    for data in (b"a" * 1_000_000, json.dumps(changed(description="x" * 1_000_000)).encode()):
        assert refused(data) == {"$": f"it has over {spec_reading.SPEC_MAX_BYTES} bytes"}


def test_a_large_json_document_is_fine_while_yaml_must_be_small():
    lines = ["x" * 1000] * 400
    document = changed(transform={"cmd": ["sh"], "stdin": lines})
    assert len(spec_parsing.parse(json.dumps(document).encode()).transform.stdin) == 400
    assert "too long for YAML" in refused(yaml.safe_dump(document))["$"]


@pytest.mark.parametrize(
    "document",
    [
        {f"unknown{n}": n for n in range(20_000)},
        changed(transform={"cmd": [1] * 100_000}),
        changed(transform={"cmd": ["x"], "env": {f"A{n}": n for n in range(20_000)}}),
        changed(transform={"cmd": ["x"], "accept_return_code": ["x"] * 100_000}),
        changed(transform={"cmd": ["\0"] * 100_000}),
        {"x" * 400_000: 1},
        changed(pipeline={"name": "x" * 400_000}),
        changed(input={"pfs": {"repo": "x" * 400_000, "glob": "[" * 400_000}}),
        changed(transform={"cmd": ["x"], "env": {"=" * 400_000: "x"}}),
    ],
)
def test_the_answer_to_a_hostile_document_is_short(document):
    with pytest.raises(errors.InvalidSpecError) as caught:
        spec_parsing.convert(document)
    assert len(json.dumps(caught.value.problems)) < 200_000
    assert len(caught.value.problems) <= 101


def test_keys_that_are_no_strings_are_told():
    assert refused(dict([(1, 2), (None, 3), *GOOD.items()])).keys() == {"$.1", "$.null"}
    assert refused(b"1: 2\npipeline: {2: x, name: w}").keys() >= {"$.1", "$.pipeline.2"}
    assert "quote it" in refused(b"true: 2\npipeline: {name: w}")["$.true"]
    problems = refused(changed(transform={"cmd": ["x"], "env": {1: "x"}}))
    assert problems.keys() == {"$.transform.env.1"}


def test_a_key_that_is_given_twice_is_told_with_its_path():
    text = '{"salt": "a", "salt": "b", "transform": {"cmd": ["x"], "env": {"A": "1", "A": "2"}}}'
    for each in (text, text.replace('{"salt"', "{ salt")):  # the second is YAML
        problems = refused(each)
        assert problems["$.salt"] == "is given more than once"
        assert problems["$.transform.env.A"] == "is given more than once"
        assert "$.input" in problems


def test_numbers_that_are_none_are_told_with_their_path():
    for text in ("NaN", "Infinity", "-Infinity", "1e999", ".nan", "-.inf"):
        assert "$.datum_tries" in refused(f'{{"datum_tries": {text}, "pipeline": {{"name": "x"}}}}')


def test_a_text_with_a_byte_order_mark_is_read():
    data = b"\xef\xbb\xbf" + json.dumps(GOOD).encode()
    assert spec_parsing.parse(data) == spec_parsing.convert(GOOD)


def test_plain_scalars_of_yaml_mean_what_they_mean_in_its_version_1_2():
    text = "\n".join(
        [json.dumps(GOOD)[:-1] + ",", "salt: no, description: 2024-01-01,", "standby: TRUE}"]
    )
    taken = spec_parsing.parse(text.encode())
    assert (taken.salt, taken.description, taken.standby) == ("no", "2024-01-01", True)
    for word in ("yes", "on", "0o17", "1_000", "1:30", "'5'"):
        assert "$.standby" in refused(json.dumps(GOOD)[:-1] + f", standby: {word}}}")


def test_tabs_are_space_in_json_and_an_error_with_a_line_in_yaml():
    text = json.dumps(GOOD, indent="\t")
    assert spec_parsing.parse(text.encode()) == spec_parsing.convert(GOOD)
    assert "line 2" in refused("pipeline:\n\tname: x\n")["$"]


@pytest.mark.parametrize("form", ["[%s,%s]", "%s\n%s", "---\n%s\n---\n%s\n---\n", "- %s\n- %s"])
def test_a_text_may_hold_several_specs(form):
    data = (form % (json.dumps(GOOD), json.dumps(changed(salt="x")))).encode()
    found = [spec_parsing.convert(each) for each in spec_parsing.documents(data)]
    assert [each.salt for each in found] == ["", "x"]
    assert "holds 2 specs" in refused(data)["$"]


def test_a_text_of_more_specs_than_anybody_writes_is_refused():
    with pytest.raises(errors.InvalidSpecError, match="200 at the most"):
        spec_parsing.documents(b"{}" * 201)
    assert len(spec_parsing.documents(b"{}" * 200)) == 200
