import json

import msgspec
import pytest
import yaml
from tests.support.specs import GOOD, changed, refused

from trunkline.contracts import spec, spec_parsing


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
    assert "only one" in refused(changed(name="words"))["$.name"]


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
    assert "quote it" in problems["$.salt"]
    assert "never closed" in problems["$.input.pfs.glob"]
    assert "not `constant` and `coefficient`" in problems["$.parallelism_spec"]
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


@pytest.mark.parametrize("value", [5, "x", [], True])
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
        ({"constant": "4x"}, ".constant"),
        ({"constant": ""}, ".constant"),
        ({"constant": 10**30}, ".constant"),
        pytest.param({"constant": 10**9999}, ".constant", id="huge"),
        ({"constant": 1, "coefficient": None, "constnat": 1}, ".constnat"),
        ({"constant": None}, ""),
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
    "value", [True, 0, 101, -1, 1.5, "three", pytest.param(10**9999, id="huge")]
)
def test_tries_are_from_1_to_100(value):
    assert refused(changed(datum_tries=value)).keys() == {"$.datum_tries"}


@pytest.mark.parametrize("code", [-1, 256, True, "x", pytest.param(10**9999, id="huge")])
def test_an_exit_code_that_cannot_be_is_refused(code):
    problems = refused(changed(transform={"cmd": ["x"], "accept_return_code": [0, code]}))
    assert problems.keys() == {"$.transform.accept_return_code[1]"}


@pytest.mark.parametrize(
    "value",
    [
        " ",
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
    assert "at most 8760h" in refused(changed(datum_timeout="9" * 30 + "h"))["$.datum_timeout"]


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
        {"err_cmd": ("x",)},
        {"secrets": (spec.Secret(name="s", mount_path="/s"),)},
        {"datum_batching": True},
    ):
        assert spec.code_hash(msgspec.structs.replace(base, **change)) != spec.code_hash(base)
    for change in ({"memory_volume": True}, {"image_pull_secrets": ("x",)}):
        assert spec.code_hash(msgspec.structs.replace(base, **change)) == spec.code_hash(base)


def test_the_code_hash_of_what_was_run_before_stays_as_it_was():
    was = {
        "cmd": ["python3", "count.py"],
        "image": "debian:12",
        "env": {"A": "1"},
        "user": "nobody",
    }
    assert spec.code_hash(msgspec.convert(was, spec.Transform)) == "a9a78b0d7e95f092"
