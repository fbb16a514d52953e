import json
import time
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline.contracts import errors, spec, spec_parsing, spec_reading

GOOD: dict[str, Any] = {
    "pipeline": {"name": "words"},
    "transform": {"cmd": ["python3", "count.py"]},
    "input": {"pfs": {"repo": "texts", "glob": "/*"}},
}


def changed(**fields):
    return {**GOOD, **fields}


def refused(document):
    text = document.encode() if isinstance(document, str) else document
    take = spec_parsing.parse if isinstance(text, bytes) else spec_parsing.convert
    with pytest.raises(errors.InvalidSpecError) as caught:
        take(text)
    return dict(caught.value.problems)


def test_the_smallest_spec_has_every_default():
    assert spec_parsing.parse(json.dumps(GOOD).encode()) == spec.PipelineSpec(
        name="words",
        transform=spec.Transform(cmd=("python3", "count.py")),
        input=spec.Input(pfs=spec.PfsInput(repo="texts", glob="/*", name="texts", branch="master")),
        parallelism_spec=spec.Parallelism(),
        datum_tries=3,
    )


def test_yaml_says_the_same_as_json():
    assert spec_parsing.parse(yaml.safe_dump(GOOD).encode()) == spec_parsing.convert(GOOD)
    text = """
        pipeline: {name: words}   # a comment
        transform:
          cmd:
          - python3
          - count.py
        input: {pfs: {repo: texts, glob: "/*"}}
    """
    assert spec_parsing.parse(text.encode()) == spec_parsing.convert(GOOD)


def test_json_with_a_trailing_comma_is_taken_as_yaml():
    text = json.dumps(GOOD)[:-1] + ",}"
    assert spec_parsing.parse(text.encode()) == spec_parsing.convert(GOOD)


def test_every_setting_is_taken():
    document = changed(
        description="counts",
        parallelism_spec={"constant": 4},
        autoscaling=True,
        datum_timeout="1h30m",
        datum_tries=5,
        output_branch="out",
        salt="pepper",
        transform={
            "cmd": ["sh"],
            "image": "debian:12",
            "stdin": ["echo a", "echo b"],
            "env": {"A": "1"},
            "working_dir": "/tmp",
            "user": "nobody",
            "accept_return_code": [0, 3, 255],
        },
        input={"pfs": {"repo": "texts", "glob": "x/", "name": "in", "branch": "dev"}},
    )
    taken = spec_parsing.convert(document)
    assert taken.standby is True
    assert taken.datum_timeout_s == 5400
    assert taken.parallelism_spec == spec.Parallelism(constant=4)
    assert taken.transform.env == {"A": "1"}
    assert taken.input.pfs == spec.PfsInput(repo="texts", glob="x/", name="in", branch="dev")
    assert msgspec.json.decode(msgspec.json.encode(taken), type=spec.PipelineSpec) == taken


def test_a_name_outside_of_pipeline_is_taken_too():
    document = {key: value for key, value in GOOD.items() if key != "pipeline"}
    assert spec_parsing.convert({**document, "name": "words"}).name == "words"
    assert refused({**document, "name": "w.x"}).keys() == {"$.name"}
    assert "only one" in refused(changed(name="words"))["$.pipeline.name"]


def test_the_document_is_not_changed():
    document = changed(datum_timeout="5m", autoscaling=True)
    before = json.dumps(document)
    spec_parsing.convert(document)
    assert json.dumps(document) == before


def test_all_problems_are_told_at_once_each_with_its_path():
    document = {
        "pipeline": {"name": "no.dots", "projekt": "x"},
        "transform": {"cmd": ["a", 5], "imgae": "x", "env": {"A": 1, "B=C": "x", "D": None}},
        "input": {"pfs": {"repo": "-x", "glob": "/[a", "branch": "a b", "lazzy": True}},
        "parallelism_spec": {"constant": 3, "coefficient": 0.5},
        "datum_tries": 0,
        "datum_timeout": "5 minutes",
        "standby": "yes",
        "salt": 7,
        "unheard": {},
    }
    problems = refused(document)
    assert problems.keys() == {
        "$.pipeline.name",
        "$.pipeline.projekt",
        "$.transform.cmd[1]",
        "$.transform.imgae",
        "$.transform.env.A",
        "$.transform.env.D",
        "$.transform.env.B=C",
        "$.input.pfs.repo",
        "$.input.pfs.glob",
        "$.input.pfs.branch",
        "$.input.pfs.lazzy",
        "$.parallelism_spec",
        "$.datum_tries",
        "$.datum_timeout",
        "$.standby",
        "$.salt",
        "$.unheard",
    }
    assert "did you mean 'image'" in problems["$.transform.imgae"]
    assert "known are" in problems["$.unheard"]
    assert "never closed" in problems["$.input.pfs.glob"]
    assert "not both" in problems["$.parallelism_spec"]
    assert "expected a duration" in problems["$.datum_timeout"]


def test_what_is_missing_is_told_by_its_path():
    assert refused({}) == {
        "$.pipeline.name": "is missing",
        "$.transform": "is missing",
        "$.input": "is missing",
    }
    assert refused(changed(input={"pfs": {}})).keys() == {"$.input.pfs.repo", "$.input.pfs.glob"}
    assert refused(changed(input={})).keys() == {"$.input"}
    assert refused(changed(pipeline={})).keys() == {"$.pipeline.name"}


@pytest.mark.parametrize("value", [None, 5, "x", [], True])
def test_a_section_of_the_wrong_type_is_one_problem(value):
    for section in ("pipeline", "transform", "input"):
        problems = refused(changed(**{section: value}))
        assert problems.keys() == {f"$.{section}"}
        assert problems[f"$.{section}"].startswith("expected an object")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"constant": 0}, ".constant"),
        ({"constant": -1}, ".constant"),
        ({"constant": True}, ".constant"),
        ({"constant": 1.5}, ".constant"),
        ({"constant": "4"}, ".constant"),
        ({"constant": 10**30}, ".constant"),
        pytest.param({"constant": 10**9999}, ".constant", id="huge"),
        ({"coefficient": 0}, ".coefficient"),
        ({"coefficient": -0.5}, ".coefficient"),
        ({"coefficient": True}, ".coefficient"),
        ({"coefficient": float("nan")}, ".coefficient"),
        ({"coefficient": float("inf")}, ".coefficient"),
        pytest.param({"coefficient": 10**9999}, ".coefficient", id="huge coefficient"),
        ({"constant": 1, "coefficient": 1}, ""),
        ({}, ""),
        ([], ""),
        ("x", ""),
    ],
)
def test_a_parallelism_that_cannot_be_is_refused(value, path):
    assert f"$.parallelism_spec{path}" in refused(changed(parallelism_spec=value))


def test_no_parallelism_is_one_worker_per_node():
    taken = spec_parsing.convert(changed(parallelism_spec=None))
    assert taken.parallelism_spec == spec.Parallelism()
    whole = spec_parsing.convert(changed(parallelism_spec={"coefficient": 2}))
    assert whole.parallelism_spec.coefficient == 2.0


@pytest.mark.parametrize(
    "value", [True, 0, 101, -1, 1.5, "3", None, pytest.param(10**9999, id="huge")]
)
def test_tries_are_from_1_to_100(value):
    assert refused(changed(datum_tries=value)).keys() == {"$.datum_tries"}


@pytest.mark.parametrize("code", [-1, 256, True, "0", pytest.param(10**9999, id="huge")])
def test_an_exit_code_that_cannot_be_is_refused(code):
    problems = refused(changed(transform={"cmd": ["x"], "accept_return_code": [0, code]}))
    assert problems.keys() == {"$.transform.accept_return_code[1]"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300s", 300), ("5m", 300), ("1h30m", 5400), ("0.5s", 0.5), (".5s", 0.5), ("250ms", 0.25)],
)
def test_a_duration_is_taken(text, seconds):
    assert spec_parsing.duration_s(text) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "5",
        "s",
        "-5s",
        "0s",
        "5 m",
        "5m x",
        "1e3s",
        "5M",
        "\u0663s",
        "9" * 400 + "s",
        7,
        True,
        [],
        {},
    ],
)
def test_what_is_no_duration_is_refused(value):
    assert refused(changed(datum_timeout=value)).keys() == {"$.datum_timeout"}


def test_a_duration_of_ages_is_refused():
    assert "a year" in refused(changed(datum_timeout="9" * 30 + "h"))["$.datum_timeout"]


def test_an_input_called_out_is_refused():
    def pfs(**fields):
        return changed(input={"pfs": {"glob": "/", **fields}})

    for name in ("out", ".env"):
        assert refused(pfs(repo="texts", name=name)).keys() == {"$.input.pfs.name"}
    assert refused(pfs(repo="out")).keys() == {"$.input.pfs.name"}
    (leaf,) = spec.inputs(spec_parsing.convert(pfs(repo="out", name="in")).input)
    assert leaf.name == "in"


@pytest.mark.parametrize("cmd", [[], [""]])
def test_an_empty_command_is_refused(cmd):
    assert "empty" in refused(changed(transform={"cmd": cmd}))["$.transform.cmd"]


@pytest.mark.parametrize("bad", ["a\0b", "a\ud800b"])
def test_text_that_no_process_takes_is_refused_wherever_it_is(bad):
    document = changed(
        description=bad,
        transform={"cmd": ["x", bad], "stdin": [bad], "env": {"A": bad, bad: "x"}, "user": bad},
    )
    problems = refused(document)
    assert {
        "$.description",
        "$.transform.cmd[1]",
        "$.transform.stdin[0]",
        "$.transform.env.A",
        "$.transform.user",
    } <= problems.keys()
    for path, text in problems.items():
        (path + text).encode()


# --- hostile texts -----------------------------------------------------------------------------


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
        b"? [a]\n: b",
        b"x: 2020-99-99",
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
    started = time.perf_counter()
    assert "aliases" in refused(bomb)["$"]
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("depth", [60, 1_000, 60_000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}"), ('{"a":', "}")])
def test_deep_nesting_is_refused(depth, opening, closing):
    assert refused(f"x: {opening * depth}{closing * depth}"[: spec_reading.SPEC_MAX_BYTES])
    assert refused((opening * depth + closing * depth)[: spec_reading.SPEC_MAX_BYTES])
    assert refused(f'{{"salt": {"[" * depth}{"]" * depth}}}'[: spec_reading.SPEC_MAX_BYTES])


def test_a_document_of_a_megabyte_is_refused_at_once():
    for data in (b"a" * 1_000_000, json.dumps(changed(description="x" * 1_000_000)).encode()):
        started = time.perf_counter()
        assert "bytes" in refused(data)["$"]
        assert time.perf_counter() - started < 0.1


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
def test_the_answer_to_a_hostile_document_is_short_and_quick(document):
    started = time.perf_counter()
    with pytest.raises(errors.InvalidSpecError) as caught:
        spec_parsing.convert(document)
    assert time.perf_counter() - started < 2
    assert len(json.dumps(caught.value.problems)) < 200_000
    assert len(caught.value.problems) <= 101


def test_keys_that_are_no_strings_are_told():
    assert refused({1: 2, None: 3, **GOOD}).keys() == {"$.1", "$.None"}
    assert refused(b"1: 2\npipeline: {2: x, name: w}").keys() >= {"$.1", "$.pipeline.2"}
    problems = refused(changed(transform={"cmd": ["x"], "env": {1: "x"}}))
    assert problems.keys() == {"$.transform.env.1"}


# --- anything at all ---------------------------------------------------------------------------

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
fields = st.sampled_from(
    [
        *(field.name for field in msgspec.structs.fields(spec.PipelineSpec)),
        *(field.name for field in msgspec.structs.fields(spec.Transform)),
        *(field.name for field in msgspec.structs.fields(spec.PfsInput)),
        "pipeline", "pfs", "constant", "coefficient", "autoscaling", "datum_timeout", "$schema",
    ]
)  # fmt: skip
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(fields, scalars.filter(lambda v: v == v)), inner, max_size=4),
    ),
    max_leaves=12,
)


def only_refuses(parse, value):
    problems, taken = [("$", "not taken")], None
    try:
        taken = parse(value)
    except errors.InvalidSpecError as refusal:
        problems = refusal.problems
    if taken is not None:
        assert isinstance(taken, spec.PipelineSpec)
        assert msgspec.json.decode(msgspec.json.encode(taken), type=spec.PipelineSpec) == taken
        spec.code_hash(taken.transform)
    assert problems
    for path, text in problems:
        assert path.startswith("$")
        assert text
        (path + text).encode()


@settings(max_examples=400)
@given(documents)
def test_any_document_is_a_spec_or_refused(document):
    only_refuses(spec_parsing.convert, document)


@settings(max_examples=400)
@given(
    st.dictionaries(fields, documents, max_size=3),
    st.dictionaries(fields, documents, max_size=2),
    st.dictionaries(fields, documents, max_size=2),
)
def test_a_good_spec_with_anything_added_is_a_spec_or_refused(top, transform, pfs):
    document = {
        **GOOD,
        "transform": {**GOOD["transform"], **transform},
        "input": {"pfs": {**GOOD["input"]["pfs"], **pfs}},
        **top,
    }
    only_refuses(spec_parsing.convert, document)


@settings(max_examples=400)
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


# --- code_hash ---------------------------------------------------------------------------------


def test_the_code_hash_is_of_the_code_and_of_nothing_else():
    base = spec.Transform(cmd=("a", "b"), env={"A": "1", "B": "2"}, accept_return_code=(1, 2))
    same = spec.Transform(cmd=("a", "b"), env={"B": "2", "A": "1"}, accept_return_code=(2, 1))
    assert spec.code_hash(base) == spec.code_hash(same)
    assert len(spec.code_hash(base)) == 16
    for change in (
        {"cmd": ("a b",)},
        {"image": "x"},
        {"stdin": ("x",)},
        {"env": {"A": "1"}},
        {"working_dir": "/"},
        {"user": "x"},
        {"accept_return_code": (1,)},
    ):
        assert spec.code_hash(msgspec.structs.replace(base, **change)) != spec.code_hash(base)


def test_inputs_are_combined_and_each_leaf_has_its_path() -> None:
    left, right = {"pfs": {"repo": "a", "glob": "/*"}}, {"pfs": {"repo": "b", "glob": "/"}}
    parsed = spec_parsing.convert(changed(input={"cross": [left, {"union": [right, right]}]}))
    assert [(path, leaf.name) for path, leaf in spec.leaves(parsed.input)] == [
        ("$.input.cross[0].pfs", "a"),
        ("$.input.cross[1].union[0].pfs", "b"),
        ("$.input.cross[1].union[1].pfs", "b"),
    ]


def test_wrong_combinations_of_inputs_are_told_where_they_stand() -> None:
    leaf = {"pfs": {"repo": "a", "glob": "/*"}}
    assert "$.input.cross[1]" in refused(changed(input={"cross": [leaf, leaf]}))
    assert "$.input.union" in refused(changed(input={"union": []}))
    assert "$.input" in refused(changed(input={**leaf, "union": [leaf]}))
    assert "$.input.cross[0].union[0].pfs.glob" in refused(
        changed(input={"cross": [{"union": [{"pfs": {"repo": "a", "glob": "/["}}]}]})
    )
    assert "$.input" in refused(changed(input={"union": [leaf] * 100}))
