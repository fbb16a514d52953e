"""Which parts of a spec are run here."""

from typing import Any

import pytest
from tests.support.specs import changed, pfs, transform

from trunkline.contracts import spec_parsing, spec_tables
from trunkline.contracts.spec_sections import Section, section_of
from trunkline.coordinator.core import admission, pipelines
from trunkline.coordinator.core.pipelines import Fresh, Installed, Refused

EXAMPLES: dict[str, dict[str, Any]] = {
    "job_timeout": changed(job_timeout="1h"),
    "same_path": changed(same_path="concatenate"),
    "pfs.lazy": changed(input={"union": [pfs(), pfs(lazy=True)]}),
    "pfs.trigger": changed(input=pfs(trigger={"commits": 2})),
}


@pytest.mark.parametrize("key", admission.NOT_YET)
def test_what_is_not_run_yet_is_refused_with_what_to_do_until_then(key):
    wanted = spec_parsing.convert(EXAMPLES[key])
    refusals = dict(admission.refusals(wanted))
    path = next(path for path in refusals if path.endswith(key.rpartition(".")[2]))
    assert refusals[path] == f"is not supported yet: {admission.NOT_YET[key]}"
    nothing = Installed(pipelines={}, repos={}, heads={}, local=True)
    decision = pipelines.accept(wanted, nothing, Fresh(set_id="5" * 32, salt="f" * 32, now_ns=7))
    assert isinstance(decision, Refused)
    assert path in dict(decision.problems)


def test_each_key_is_that_of_a_field():
    def keys(section: Section, seen: set[str]) -> set[str]:
        if section.name in seen:
            return set()
        seen.add(section.name)
        found = {f"{section.name}.{each.name}" for each in section.fields}
        below = (section_of(each.kind) for each in section.fields)
        return found.union(*(keys(each, seen) for each in below if each is not None))

    known = {key.removeprefix("spec.") for key in keys(spec_tables.SPEC, set())}
    assert admission.NOT_YET.keys() <= known


def test_a_secret_that_is_not_there_is_refused_where_that_is_known():
    given = [
        {"name": "db", "env_var": "USER", "key": "user"},
        {"name": "db", "env_var": "WORD", "key": "word"},
        {"name": "tls", "mount_path": "/tls"},
        {"name": "gone", "mount_path": "/gone"},
    ]
    wanted = spec_parsing.convert(transform(secrets=given))
    there = {"db": ("user",), "tls": ()}
    assert dict(admission.missing_secrets(wanted, there)) == {
        "$.transform.secrets[1].key": (
            "secret 'db' has no key 'word': `trunkline create secret db` with that key"
        ),
        "$.transform.secrets[3].name": (
            "secret 'gone' does not exist: `trunkline create secret gone` first"
        ),
    }
    assert admission.missing_secrets(wanted, None) == []
    nothing = Installed(pipelines={}, repos={}, heads={}, local=True, secrets={})
    decision = pipelines.accept(wanted, nothing, Fresh(set_id="5" * 32, salt="f" * 32, now_ns=7))
    assert isinstance(decision, Refused)
    assert "$.transform.secrets[0].name" in dict(decision.problems)


def test_defaults_that_are_spelled_out_are_nothing_to_refuse():
    plain = changed(
        reprocess_spec="until_success",
        same_path="fail",
        datum_set_spec={"number": 0},
        input=pfs(lazy=False, empty_files=False),
    )
    assert admission.refusals(spec_parsing.convert(plain)) == []


def test_what_needs_kubernetes_is_told_elsewhere_and_what_has_no_effect_is_told_everywhere():
    wanted = spec_parsing.convert(
        {
            **transform(image="alpine", user="nobody", debug=True),
            "resourceLimits": {"memory": "1G", "gpu": {"type": "a", "number": 1}},
            "tolerations": [{"operator": "EXISTS"}],
            "cacheSize": "1G",
        }
    )
    everywhere = ("transform.debug", "cacheSize")
    assert admission.without_effect(wanted, local=False) == everywhere
    assert admission.without_effect(wanted, local=True) == (
        "transform.image",
        "transform.user",
        "resource_limits",
        "tolerations",
        *everywhere,
    )
