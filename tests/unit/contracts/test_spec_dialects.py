"""The same spec in Pachyderm's dialects, and what of it cannot be taken."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from tests.support.specs import GOOD, changed, pfs, refused, transform

from trunkline.contracts import spec, spec_parsing

OLD: dict[str, Any] = {
    "pipeline": {"name": "edges"},
    "transform": {
        "cmd": ["python3", "/edges.py"],
        "err_cmd": ["true"],
        "accept_return_code": ["3"],
        "working_dir": "/work",
        "secrets": [
            {"name": "s3", "env_var": "KEY", "key": "key"},
            {"name": "tls", "mount_path": "/tls"},
        ],
        "image_pull_secrets": ["registry"],
    },
    "parallelism_spec": {"constant": "4"},
    "standby": True,
    "chunk_spec": {"number": "10"},
    "datum_tries": "5",
    "datum_timeout": "5m",
    "job_timeout": "1h30m",
    "output_branch": "out",
    "reprocess_spec": "every_job",
    "resource_limits": {
        "memory": "1Gi",
        "cpu": 0.5,
        "gpu": {"type": "nvidia.com/gpu", "number": "1"},
    },
    "scheduling_spec": {"node_selector": {"disk": "ssd"}, "priority_class_name": "low"},
    "pod_patch": '[{"op": "add", "path": "/x", "value": 1}]',
    "input": {"pfs": {"repo": "images", "glob": "/*", "empty_files": True}},
}
NEW: dict[str, Any] = {
    "$schema": "https://example.com/schema.json",
    "pipeline": {"name": "edges", "project": {"name": "default"}},
    "transform": {
        "cmd": ["python3", "/edges.py"],
        "errCmd": ["true"],
        "acceptReturnCode": [3],
        "workingDir": "/work",
        "secrets": [
            {"name": "s3", "envVar": "KEY", "key": "key"},
            {"name": "tls", "mountPath": "/tls"},
        ],
        "imagePullSecrets": ["registry"],
        "env": None,
    },
    "parallelismSpec": {"constant": 4},
    "autoscaling": True,
    "datumSetSpec": {"number": 10, "sizeBytes": None},
    "datumTries": 5,
    "datumTimeout": "300s",
    "jobTimeout": "5400s",
    "outputBranch": "out",
    "reprocessSpec": "every_job",
    "resourceLimits": {"memory": "1Gi", "cpu": 0.5, "gpu": {"type": "nvidia.com/gpu", "number": 1}},
    "schedulingSpec": {"nodeSelector": {"disk": "ssd"}, "priorityClassName": "low"},
    "podPatch": '[{"op": "add", "path": "/x", "value": 1}]',
    "input": {
        "pfs": {
            "repo": "images",
            "glob": "/*",
            "emptyFiles": True,
            "project": "default",
            "lazy": None,
        }
    },
    "egress": None,
    "s3Out": False,
}


def test_old_and_new_dialect_say_the_same():
    old, new = spec_parsing.convert(OLD), spec_parsing.convert(NEW)
    assert old == new
    assert msgspec.json.decode(msgspec.json.encode(old), type=spec.PipelineSpec) == old


def test_dialects_may_be_mixed_in_one_object():
    mixed = {**OLD, **{key: NEW[key] for key in ("parallelismSpec", "datumTimeout", "transform")}}
    for key in ("parallelism_spec", "datum_timeout"):
        del mixed[key]
    assert spec_parsing.convert(mixed) == spec_parsing.convert(OLD)


def test_every_field_arrives_in_the_struct():
    taken = spec_parsing.convert(OLD)
    assert taken.transform.secrets == (
        spec.Secret(name="s3", env_var="KEY", key="key"),
        spec.Secret(name="tls", mount_path="/tls"),
    )
    assert (taken.datum_timeout_s, taken.job_timeout_s) == (300, 5400)
    assert taken.datum_set_spec == spec.DatumSets(number=10)
    assert taken.resource_limits == spec.Resources(
        cpu=0.5, memory_bytes=2**30, gpu=spec.Gpu(type="nvidia.com/gpu", number=1)
    )
    assert taken.scheduling_spec.node_selector == {"disk": "ssd"}
    assert (taken.standby, taken.reprocess_spec, taken.datum_tries) == (True, "every_job", 5)


def test_one_setting_under_two_names_is_refused_where_they_differ():
    both = changed(standby=True, autoscaling=True, datum_tries=4, datumTries="4")
    assert spec_parsing.convert(both).standby is True
    problems = refused(changed(standby=True, autoscaling=False, datum_tries=4, datumTries=5))
    assert problems == {
        "$.autoscaling": "set only one of `standby` and `autoscaling`",
        "$.datumTries": "set only one of `datum_tries` and `datumTries`",
    }


def test_null_is_a_field_that_is_not_there():
    everything = dict.fromkeys(("standby", "salt", "datumTries", "egress", "parallelismSpec"))
    assert spec_parsing.convert(changed(**everything)) == spec_parsing.convert(GOOD)
    assert refused(changed(transform=None)) == {"$.transform": "is missing"}
    assert "$.transform.cmd[0]" in refused(transform(cmd=[None]))


def test_an_empty_string_is_a_field_that_is_not_there():
    document = changed(outputBranch="", salt="", input=pfs(name="", branch="", joinOn=""))
    assert spec_parsing.convert(document) == spec_parsing.convert(GOOD)
    assert refused(changed(input={"pfs": {"repo": "", "glob": ""}})).keys() == {
        "$.input.pfs.repo",
        "$.input.pfs.glob",
    }


def test_an_unknown_field_names_the_nearest_one_in_its_own_spelling():
    problems = refused(changed(datumTrys=1, datum_trys=1, paralelism_spec={}, transfrm={}))
    assert problems["$.datumTrys"] == "unknown field; did you mean 'datumTries'?"
    assert problems["$.datum_trys"] == "unknown field; did you mean 'datum_tries'?"
    assert "'parallelism_spec'" in problems["$.paralelism_spec"]
    assert "'parallelism_spec'" in refused(changed(parallelism="1"))["$.parallelism"]
    assert "'transform'" in problems["$.transfrm"]


def test_problems_have_the_paths_that_the_user_wrote():
    document = changed(
        datumTimeout="x", parallelismSpec={"constant": 0}, resourceLimits={"cpu": "x"}
    )
    assert refused(document).keys() == {
        "$.datumTimeout",
        "$.parallelismSpec.constant",
        "$.resourceLimits.cpu",
    }


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"egress": {"URL": "s3://x"}}, "downstream"),
        ({"service": {"internal_port": 80}}, "deploy one"),
        ({"spout": {}}, "let a process of yours put files"),
        ({"s3Out": True}, "no S3 gateway"),
        ({"determined": {"workspaces": []}}, "leave it out"),
        ({"tfJob": {"tfJob": ""}}, "`transform`"),
        ({"reprocess": True}, "change the `salt`"),
        ({"dry_run": True}, "trunkline validate"),
    ],
)
def test_what_cannot_have_an_effect_is_refused_with_what_to_do_instead(fields, says):
    ((path, text),) = refused(changed(**fields)).items()
    assert path == f"$.{next(iter(fields))}"
    assert text.startswith("is refused: ")
    assert says in text


def test_what_could_not_change_a_result_is_accepted_and_told():
    taken = spec_parsing.convert(
        changed(
            cacheSize="64M",
            enable_stats=True,
            maxQueueSize=2,
            update=True,
            sidecar_resource_limits={"cpu": 1},
            transform={"cmd": ["x"], "debug": True, "dockerfile": ""},
        )
    )
    assert sorted(taken.unused) == [
        "cacheSize",
        "enable_stats",
        "maxQueueSize",
        "sidecar_resource_limits",
        "transform.debug",
        "update",
    ]
    quiet = spec_parsing.convert(changed(enable_stats=False, update=False, cache_size=None))
    assert quiet.unused == ()
    assert "$.cache_size" in refused(changed(cache_size="much"))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"pipeline": {"name": "a", "project": {"name": "other"}}}, "$.pipeline.project.name"),
        ({"input": pfs(project="other")}, "$.input.pfs.project"),
        ({"input": pfs(repoType="meta")}, "$.input.pfs.repoType"),
        ({"input": pfs(commit="abc")}, "$.input.pfs.commit"),
        ({"input": pfs(s3=True)}, "$.input.pfs.s3"),
        ({"input": {"git": {"URL": "x"}}}, "$.input.git"),
        ({"datum_set_spec": {"per_worker": 1, "number": 2}}, "$.datum_set_spec.per_worker"),
        ({"reprocess_spec": "sometimes"}, "$.reprocess_spec"),
        ({"speculation": {"after": 1}}, "$.speculation.after"),
        ({"speculation": {"quantile": 1}}, "$.speculation.quantile"),
        ({"speculation": True}, "$.speculation"),
        (
            {"speculation": {}, "transform": {"cmd": ["x"], "err_cmd": ["y"]}},
            "$.speculation",
        ),
        ({"pod_spec": "{"}, "$.pod_spec"),
        ({"pod_spec": "[]"}, "$.pod_spec"),
        ({"pod_spec": {"a": 1}}, "$.pod_spec"),
        ({"pod_patch": "{}"}, "$.pod_patch"),
        ({"metadata": {"labels": {"a b": "x"}}}, "$.metadata.labels.a b"),
        ({"metadata": {"labels": {"a": "x y"}}}, "$.metadata.labels.a"),
        ({"resource_requests": {"memory": "64QB"}}, "$.resource_requests.memory"),
        ({"resource_requests": {"cpu": -1}}, "$.resource_requests.cpu"),
        ({"resource_limits": {"gpu": {"type": "x"}}}, "$.resource_limits.gpu.number"),
        ({"tolerations": [{"key": "a", "operator": "EMPTY"}]}, "$.tolerations[0].operator"),
        ({"tolerations": [{"operator": "EQUAL", "value": "x"}]}, "$.tolerations[0].key"),
        (
            {"tolerations": [{"key": "a", "toleration_seconds": 5, "effect": "NO_SCHEDULE"}]},
            "$.tolerations[0].toleration_seconds",
        ),
        ({"transform": {"cmd": ["x"], "user": "a b"}}, "$.transform.user"),
        ({"transform": {"cmd": ["x"], "image": "a b"}}, "$.transform.image"),
        ({"transform": {"cmd": ["x"], "err_stdin": ["x"]}}, "$.transform.err_stdin"),
        ({"transform": {"cmd": ["x"], "err_cmd": []}}, "$.transform.err_cmd"),
        ({"transform": {"cmd": ["x"], "secrets": [{"name": "a"}]}}, "$.transform.secrets[0]"),
        (
            {"transform": {"cmd": ["x"], "secrets": [{"name": "a", "env_var": "A"}]}},
            "$.transform.secrets[0].env_var",
        ),
        (
            {"transform": {"cmd": ["x"], "secrets": [{"name": "a", "mount_path": "/pfs/x"}]}},
            "$.transform.secrets[0].mount_path",
        ),
    ],
)
def test_what_would_go_wrong_later_is_refused_now(fields, path):
    assert refused(changed(**fields)).keys() == {path}


def mounted_at(path: str) -> dict[str, object]:
    return changed(transform={"cmd": ["x"], "secrets": [{"name": "a", "mount_path": path}]})


@pytest.mark.parametrize(
    "path",
    [
        "keys",
        "/",
        "//",
        "/./",
        "/x/../pfs/out",
        "/..",
        "/pfs",
        "//pfs/out",
        "/./proc/1",
        "/dev/shm",
        "/sys",
        "/usr",
        "/usr/",
        "//bin",
        "/etc",
        "/lib64",
        "/usr/local/bin",
        "/usr/./lib",
        "/a:b",
        "/trunkline/x",
        "/run",
        "/run/trunkline",
    ],
)
def test_a_secret_is_not_put_over_what_commands_need(path: str):
    assert refused(mounted_at(path)).keys() == {"$.transform.secrets[0].mount_path"}


@pytest.mark.parametrize("path", ["/keys", "/etc/keys", "/usr/share/keys", "/pfsx", "/root/.ssh"])
def test_a_secret_may_be_put_anywhere_else(path: str):
    (secret,) = spec_parsing.convert(mounted_at(path)).transform.secrets
    assert secret.mount_path == path


def test_requests_above_limits_are_refused_as_kubernetes_would():
    document = changed(
        resourceRequests={"memory": "2G", "cpu": "500m"}, resource_limits={"memory": "1G", "cpu": 1}
    )
    assert refused(document).keys() == {"$.resourceRequests.memory"}


def test_a_toleration_is_in_the_words_of_kubernetes_afterwards():
    document = changed(
        tolerations=[
            {"key": "gpu", "operator": "EXISTS", "effect": "NO_SCHEDULE"},
            {"operator": "Exists"},
        ]
    )
    assert spec_parsing.convert(document).tolerations == (
        spec.Toleration(key="gpu", operator="Exists", effect="NoSchedule"),
        spec.Toleration(operator="Exists"),
    )


def test_a_time_in_a_spec_is_a_moment():
    cron = {"name": "tick", "spec": "@daily", "start": "2024-01-31T12:00:00+02:00"}
    taken = spec_parsing.convert(changed(input={"cron": cron})).input.cron
    assert taken is not None
    assert taken.start == datetime(2024, 1, 31, 10, tzinfo=UTC)
    unquoted = json.dumps(changed(input={"cron": cron})).replace(
        '"2024-01-31T12:00:00+02:00"', "2024-01-31T10:00:00Z"
    )
    assert spec_parsing.parse(unquoted.encode()).input.cron == taken
    for bad in ("yesterday", "2024-01-31", "2024-01-31T12:00:00", 5):
        problems = refused(changed(input={"cron": {**cron, "start": bad}}))
        assert problems.keys() == {"$.input.cron.start"}
