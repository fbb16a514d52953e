"""Whatever a spec says of its pods, one is made or refused, and soon; nothing of it ends who makes it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.worker_pods import OWNER, settings, worker

from trunkline.contracts import errors
from trunkline.scaler.core import eligibility
from trunkline.scaler.kubernetes import pods, reading
from trunkline.scaler.ports import Node, WorkerRefusedError

FIELDS = (
    "tolerations", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
    "nodeSelectorTerms", "matchExpressions", "key", "operator", "values", "nodeSelector",
    "containers", "initContainers", "volumes", "volumeMounts", "name", "mountPath",
    "securityContext", "capabilities", "add", "terminationGracePeriodSeconds", "env", "secret",
    "user", "agent", "home",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(FIELDS),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), each, max_size=4)
    ),
    max_leaves=20,
)
PATHS = st.sampled_from(
    [f"/{field}" for field in FIELDS]
    + ["", "/", "/containers/0/volumeMounts/-", "/volumes/-", "/containers/0/securityContext/capabilities/add"]
    + ["/containers/0", "/containers/-", "/volumes/2", "/tolerations/-", "/containers/" + "9" * 5000]
) | st.text(max_size=5)  # fmt: skip
OPERATIONS = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": PATHS,
        "from": PATHS,
        "value": JSON,
    }
)


def written(**fields: str) -> Any:
    """Return a worker whose record holds this, past what is checked when a spec is applied."""
    found = worker()
    return msgspec.structs.replace(found, spec=msgspec.structs.replace(found.spec, **fields))


def attempt(**fields: str) -> str:
    """Return why there is no pod, which must be fit to be stored; empty if there is one."""
    try:
        pod = pods.worker_pod(written(**fields), settings(), OWNER)
    except WorkerRefusedError as error:
        msgspec.json.encode(error.reason)
        return error.reason
    node = Node(name="n", labels=(("a", "b"),))
    found = eligibility.Eligibility((node,)).of(reading.placement(pod["spec"]))
    msgspec.json.encode([each.why_not for each in found])
    return ""


@given(JSON)
def test_any_json_as_a_pods_spec_is_taken_or_refused(value: Any) -> None:
    attempt(pod_spec=json.dumps(value))


@given(st.lists(OPERATIONS, max_size=12) | JSON)
def test_any_json_as_a_patch_is_taken_or_refused(value: Any) -> None:
    attempt(pod_patch=json.dumps(value))


TERM = {"nodeSelectorTerms": [{"matchExpressions": [{"operator": "In"}]}]}


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"tolerations": "abc"}, "tolerations"),
        ({"tolerations": ["abc"]}, "tolerations"),
        ({"affinity": "x"}, "affinity"),
        ({"affinity": {"nodeAffinity": [1]}}, "nodeAffinity"),
        ({"nodeSelector": [1]}, "nodeSelector"),
        ({"nodeSelector": {"a": ["x"]}}, "nodeSelector"),
        (
            {
                "affinity": {
                    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": TERM}
                }
            },
            "matchExpressions",
        ),
        ({"\ud800": {"hostPID": True}}, "half a character|invalid|surrogate"),
    ],
)
def test_a_field_of_another_type_is_refused_by_its_name_when_applied_and_when_made(
    spec: Any, where: str
) -> None:
    with pytest.raises(errors.InvalidSpecError, match=where):
        worker(pod_spec=json.dumps(spec))
    made = pytest.raises(WorkerRefusedError, match=where)
    with made:
        pods.worker_pod(written(pod_spec=json.dumps(spec)), settings(), OWNER)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("/containers/0/volumeMounts/-", {"name": ["x"], "mountPath": "/x"}, "volumeMounts"),
        ("/containers/0/securityContext/capabilities/add", 5, "capabilities"),
    ],
)
def test_a_patch_that_makes_another_type_of_a_field_is_refused_by_its_name(
    path: str, value: Any, where: str
) -> None:
    patch = json.dumps([{"op": "add", "path": path, "value": value}])
    with pytest.raises(WorkerRefusedError, match=where):
        pods.worker_pod(worker(pod_patch=patch), settings(), OWNER)


def test_what_is_too_deep_too_long_or_too_much_is_refused() -> None:
    deep = '{"a":' * 900 + "1" + "}" * 900
    assert "deep" in attempt(pod_spec=deep) or "recursion" in attempt(pod_spec=deep)
    assert "characters" in attempt(pod_spec=json.dumps({"a": "x" * 100_000}))
    noop = {"op": "test", "path": "/restartPolicy", "value": "Always"}
    assert attempt(pod_patch=json.dumps([noop] * 100)) == ""
    assert "101 operations" in attempt(pod_patch=json.dumps([noop] * 101))
    for kept in (deep, json.dumps({"a": "x" * 100_000})):
        with pytest.raises(errors.InvalidSpecError, match="pod_spec"):
            worker(pod_spec=kept)


def test_a_document_that_copies_itself_is_stopped_while_it_is_small() -> None:
    bomb = [{"op": "copy", "from": "", "path": f"/a{each}"} for each in range(100)]
    assert "pod_patch[" in attempt(pod_patch=json.dumps(bomb))
    deeper = [{"op": "copy", "from": "", "path": "/a" * (each + 1)} for each in range(100)]
    assert "pod_patch[" in attempt(pod_patch=json.dumps(deeper))


def test_a_number_that_is_too_large_for_us_costs_no_more_than_its_own_pod() -> None:
    found = worker(transform={"user": "9" * 500})
    longer = msgspec.structs.replace(found.spec.transform, user="9" * 5000)
    changed = msgspec.structs.replace(
        found, spec=msgspec.structs.replace(found.spec, transform=longer)
    )
    with pytest.raises(WorkerRefusedError, match="no pod can be made"):
        pods.worker_pod(changed, settings(), OWNER)
