"""What the Tiltfile declares is there: in both modes, with each of its arguments."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import dashboards, tiltfile
from tests.support.tiltfile import MANUAL, PROJECT, Tiltfile

SERVICES = ("coordinator", "scaler", "worker-agent")
WORKLOADS = ("Deployment", "StatefulSet", "Job")
LOCAL = "--mode=local"


def evaluated(*words: str, **more: str) -> Tiltfile:
    return Tiltfile(*words, VENV=sys.prefix, **more)


@pytest.fixture(scope="module")
def cluster() -> Tiltfile:
    return evaluated()


@pytest.fixture(scope="module")
def local() -> Tiltfile:
    return evaluated(LOCAL)


@pytest.fixture(scope="module", params=["cluster", "local"])
def either(request: pytest.FixtureRequest) -> Tiltfile:
    found: Tiltfile = request.getfixturevalue(request.param)
    return found


def images(of: Tiltfile) -> dict[str, list[dict[str, Any]]]:
    """Return the containers that name each of our images, without its tag: as theirs, or in their environment."""
    found: dict[str, list[dict[str, Any]]] = {}
    for container in containers(of):
        texts = [container["image"], *(each.get("value", "") for each in container.get("env", []))]
        for text in texts:
            if re.fullmatch(r"trunkline/[a-z-]+(:[\w.-]+)?", text):
                found.setdefault(text.split(":")[0], []).append(container)
    return found


def containers(of: Tiltfile) -> Iterator[dict[str, Any]]:
    for each in of.objects:
        spec = each.get("spec", {}).get("template", {}).get("spec", {})
        yield from spec.get("containers", [])
        yield from spec.get("initContainers", [])


def steps(of: Tiltfile, image: str, kind: str) -> list[dict[str, Any]]:
    return [each for each in of.images[image]["live_update"] if each["is"] == kind]


def dockerfile(of: Tiltfile, image: str) -> str:
    return Path(of.images[image]["dockerfile"]).read_text()


def test_nothing_is_fetched_or_run_when_it_is_read(either: Tiltfile) -> None:
    """Functions of Tilt's that are not known here would be errors: `local`, `load`, `include` and such are none that are."""
    text = tiltfile.PATH.read_text()
    assert "load(" not in text
    assert "ext://" not in text
    assert {"local", "read_file", "helm", "git_resource"}.isdisjoint(either.called)


def test_whatever_is_waited_for_is_a_resource_and_nothing_waits_for_itself(
    either: Tiltfile,
) -> None:
    assert set(either.started()) == set(either.resources)


def test_each_resource_is_in_a_group_that_the_readme_tells_of(either: Tiltfile) -> None:
    readme = (PROJECT / "tilt" / "README.md").read_text()
    for name, each in either.resources.items():
        (label,) = each["labels"]
        (row,) = (line for line in readme.splitlines() if line.startswith(f"| {label} |"))
        assert f"`{name}`" in row


def test_paths_are_there(either: Tiltfile) -> None:
    paths: list[str] = []
    for each in either.local.values():
        paths += [*each["deps"], each["dir"], each["serve_dir"]]
    for image in either.images:
        paths += [either.images[image][key] for key in ("context", "dockerfile")]
        paths += [f"{PROJECT}/{each}" for each in either.images[image]["only"]]
        paths += [each["local_path"] for each in steps(either, image, "sync")]
        paths += [path for each in steps(either, image, "fall_back_on") for path in each["paths"]]
    assert [each for each in paths if each and not Path(each).exists()] == []


def test_whatever_is_run_is_there(either: Tiltfile) -> None:
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    for each in either.local.values():
        for command in filter(None, (each["cmd"], each["serve_cmd"])):
            program, *rest = tiltfile.words(command)
            if program == "make":
                assert set(rest) <= set(targets)
            elif "-m" in rest:
                assert importlib.util.find_spec(rest[rest.index("-m") + 1])
            else:
                assert program == "sh" or Path(program).exists()


def test_all_that_nobody_asks_for_is_a_button(either: Tiltfile) -> None:
    for name in ("demo", "check", "unit-tests", "tests", "cluster-tests"):
        assert either[name]["trigger_mode"] == MANUAL
        assert name not in either.started(asked=True)


@pytest.mark.parametrize("words", [(), (LOCAL,)])
def test_ci_runs_the_demo_on_all_that_it_needs(words: tuple[str, ...]) -> None:
    found = evaluated(*words, subcommand="ci")
    started = found.started(asked=True)
    assert started.index("demo") > max(started.index(each) for each in SERVICES)
    assert {"check", "tests"}.isdisjoint(started)


@pytest.mark.parametrize("words", [(), (LOCAL,)])
@pytest.mark.parametrize("service", [*SERVICES, "nats", "demo"])
def test_what_is_named_runs_with_all_that_it_needs_and_nothing_else(
    service: str, words: tuple[str, ...]
) -> None:
    found = evaluated(*words, service)
    assert found.enabled == [service]
    assert set(found[service]["resource_deps"]) < set(found.started())
    assert "check" not in found.started()


def test_two_may_be_named() -> None:
    assert evaluated("coordinator", LOCAL, "check").enabled == ["coordinator", "check"]


def test_a_mode_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(Exception, match="--mode=docker: there are `kubernetes` and `local`"):
        evaluated("--mode=docker")


def test_an_argument_that_is_none_is_refused() -> None:
    with pytest.raises(Exception, match="--mod"):
        evaluated("--mod=local")


def test_arguments_are_told_of(cluster: Tiltfile) -> None:
    readme = (PROJECT / "tilt" / "README.md").read_text()
    for name, usage in cluster.settings.usages.items():
        assert usage
        assert f"`--{name}" in readme or name == cluster.settings.positional


def ports(of: Tiltfile) -> dict[str, int]:
    """Return each port of this machine, by whose it is."""
    forwarded = {
        name: forward["local_port"]
        for name, each in of.workloads.items()
        for forward in each["port_forwards"]
    }
    probed = {
        name: (each["readiness_probe"]["http_get"] or each["readiness_probe"]["tcp_socket"])["port"]
        for name, each in of.local.items()
        if each["readiness_probe"] and not each["readiness_probe"]["exec"]
    }
    return forwarded | probed


@pytest.mark.parametrize("words", [(), (LOCAL,)])
def test_ports_are_each_for_one_and_all_move_together(words: tuple[str, ...]) -> None:
    usual, moved = ports(evaluated(*words)), ports(evaluated(*words, "--port=20000"))
    assert len(set(usual.values())) == len(usual) > 2
    assert moved == {name: port - 14222 + 20000 for name, port in usual.items()}
    demo = evaluated(*words, "--port=20000")["demo"]
    assert "14222" not in str(demo)


def links(of: Tiltfile) -> Iterator[tuple[str, int, str]]:
    """Yield each resource's links: port and path."""
    for name, each in of.resources.items():
        for link in each["links"]:
            ((port, path),) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\S*)", link["url"])
            yield name, int(port), path


def test_links_lead_to_what_the_resource_answers(local: Tiltfile) -> None:
    for name, port, path in links(local):
        assert port == local[name]["readiness_probe"]["http_get"]["port"]
        assert path in ("/readyz", "/metrics")


class TestCluster:
    def test_each_image_is_in_the_manifests_or_below_one_that_is(self, cluster: Tiltfile) -> None:
        named = {
            line.partition("=")[2]
            for image in cluster.images
            for line in dockerfile(cluster, image).splitlines()
            if line.startswith("ARG")
        }
        assert set(cluster.images) - named == {f"trunkline/{each}" for each in SERVICES}
        assert images(cluster).keys() == set(cluster.images) - named

    def test_an_image_that_is_no_containers_is_looked_for_in_environments(
        self, cluster: Tiltfile
    ) -> None:
        ours = {each["image"].split(":")[0] for each in containers(cluster)}
        for image in images(cluster):
            assert cluster.images[image]["match_in_env_vars"] == (image not in ours)

    def test_an_image_is_built_from_what_its_file_copies_and_nothing_else(
        self, cluster: Tiltfile
    ) -> None:
        for image, given in cluster.images.items():
            sources = re.findall(r"^COPY (?!--from)(\S+)", dockerfile(cluster, image), re.MULTILINE)
            for only in given["only"]:
                assert any(source.startswith(only) for source in sources)
            for source in sources:
                assert any(source.startswith(only) for only in given["only"])

    @pytest.mark.parametrize("service", ["coordinator", "scaler"])
    def test_all_code_of_an_image_can_be_replaced_where_it_runs(
        self, cluster: Tiltfile, service: str
    ) -> None:
        """Whatever changes is put where the image's steps put it, or the image is built anew."""
        image = f"trunkline/{service}"
        kinds = [each["is"] for each in cluster.images[image]["live_update"]]
        assert kinds == sorted(kinds, key=["fall_back_on", "sync", "run"].index)
        synced = {each["local_path"]: each["remote_path"] for each in steps(cluster, image, "sync")}
        (lock,) = steps(cluster, image, "fall_back_on")
        for each in (image, "trunkline/service"):
            for source, target in re.findall(
                r"^COPY (?!--from)(\S+) (\S+)", dockerfile(cluster, each), re.MULTILINE
            ):
                path = f"{PROJECT}/{source}"
                assert synced.get(path) == target or path in lock["paths"]

    @pytest.mark.parametrize("service", ["coordinator", "scaler"])
    def test_code_is_replaced_in_a_volume_by_the_services_user_and_read_anew(
        self, cluster: Tiltfile, service: str
    ) -> None:
        (found,) = (
            each
            for each in cluster.objects
            if each["kind"] == "Deployment" and each["metadata"]["name"] == f"trunkline-{service}"
        )
        spec = found["spec"]["template"]["spec"]
        (init,), (container,) = spec["initContainers"], spec["containers"]
        place = {each["mountPath"]: each for each in container["volumeMounts"]}
        (volume,) = (each for each in spec["volumes"] if each["name"] == "code")
        assert place["/opt/trunkline"]["name"] == "code"
        assert not place["/opt/trunkline"].get("readOnly")
        assert volume["emptyDir"] == {}
        assert init["command"][-2:] == ["/opt/trunkline/.", init["volumeMounts"][0]["mountPath"]]
        assert init["image"].split(":")[0] == container["image"].split(":")[0]
        assert container["securityContext"] == init["securityContext"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsUser"]
        told = {each["name"]: each.get("value") for each in container["env"]}
        assert told["PYTHONPYCACHEPREFIX"].startswith("/tmp/")
        assert told["PYTHONDONTWRITEBYTECODE"] == ""
        assert "livenessProbe" not in container
        _, script, module = container["command"]
        assert module == f"trunkline.{service}"
        mount = place[str(Path(script).parent)]
        (source,) = (each for each in spec["volumes"] if each["name"] == mount["name"])
        (scripts,) = (
            each
            for each in cluster.objects
            if each["metadata"]["name"] == source["configMap"]["name"]
        )
        assert Path(script).name in scripts["data"]
        (signal,) = steps(cluster, f"trunkline/{service}", "run")
        assert signal["cmd"] == "kill -HUP 1"

    def test_each_workload_and_each_object_is_in_one_resource(self, cluster: Tiltfile) -> None:
        workloads = [each for each in cluster.objects if each["kind"] in WORKLOADS]
        named = [each["workload"] for each in cluster.workloads.values() if each["workload"]]
        assert sorted(named) == sorted(each["metadata"]["name"] for each in workloads)
        selected = [name for each in cluster.workloads.values() for name in each["objects"]]
        assert len(selected) == len(set(selected))
        for each in cluster.objects:
            if each["kind"] not in (*WORKLOADS, "Service"):
                meta = each["metadata"]
                parts = [meta["name"], each["kind"], meta.get("namespace", "")]
                assert ":".join(filter(None, parts)).lower() in selected
        others = [each for each in cluster.objects if each["kind"] not in (*WORKLOADS, "Service")]
        assert len(others) == len(selected)

    def test_services_belong_to_workloads_whose_pods_they_select(self, cluster: Tiltfile) -> None:
        labels = [
            each["spec"]["template"]["metadata"]["labels"]
            for each in cluster.objects
            if each["kind"] in WORKLOADS
        ]
        for each in cluster.objects:
            if each["kind"] == "Service":
                wanted = each["spec"]["selector"].items()
                assert sum(wanted <= of.items() for of in labels) == 1

    def test_forwarded_ports_are_the_containers(self, cluster: Tiltfile) -> None:
        for resource in cluster.workloads.values():
            for forward in resource["port_forwards"]:
                (workload,) = (
                    each
                    for each in cluster.objects
                    if each["kind"] in WORKLOADS
                    and each["metadata"]["name"] == resource["workload"]
                )
                (container,) = workload["spec"]["template"]["spec"]["containers"]
                opened = [each["containerPort"] for each in container["ports"]]
                assert forward["container_port"] in opened
                if forward["link_path"] == "/readyz":
                    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"

    def test_grafana_links_to_each_of_its_dashboards(self, cluster: Tiltfile) -> None:
        assert {port for _, port, _ in links(cluster)} == {ports(cluster)["grafana"]}
        linked = {path for _, _, path in links(cluster)}
        assert linked == {f"/d/{uid}" for uid in dashboards.read()}

    def test_who_watches_may_be_left_to_the_buttons(self, cluster: Tiltfile) -> None:
        without = evaluated("--monitoring=false")
        watching = {"prometheus", "grafana"}
        assert set(cluster.started(asked=True)) - set(without.started(asked=True)) == watching

    def test_workers_are_found_by_what_the_scaler_writes_on_their_pods(
        self, cluster: Tiltfile
    ) -> None:
        pods = importlib.import_module("trunkline.scaler.kubernetes.pods")
        assert cluster["worker-agent"]["extra_pod_selectors"] == pods.MANAGED_BY

    def test_the_demo_uses_the_store_and_the_credentials_of_the_overlay(
        self, cluster: Tiltfile
    ) -> None:
        (store,) = (
            each
            for each in cluster.objects
            if each["kind"] == "Secret" and each["metadata"]["namespace"] == "trunkline"
        )
        told = cluster["demo"]["env"]
        here = {
            name: text for name, text in store["stringData"].items() if name != "AWS_ENDPOINT_URL"
        }
        assert here.items() <= told.items()
        assert told["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{ports(cluster)['s3']}"
        (settings,) = (
            each for each in cluster.objects if each["metadata"]["name"] == "trunkline-settings"
        )
        assert told["TRUNKLINE_STORE"] == settings["data"]["TRUNKLINE_STORE"]
        credentials = re.findall(r"creds=(\S+)", told["TRUNKLINE_URL"])
        login = cluster["login"]
        assert credentials == [f"{login['env']['STATE']}/user.creds"]
        assert login["cmd"].endswith('> "$STATE/user.creds"')


class TestLocal:
    def test_neither_docker_nor_kubernetes_is_asked_for_anything(self, local: Tiltfile) -> None:
        asked = {"docker_build", "k8s_yaml", "k8s_resource", "kustomize"}
        assert asked.isdisjoint(local.called)

    def test_each_process_is_started_anew_when_its_code_changes(self, local: Tiltfile) -> None:
        for service in SERVICES:
            deps = {str(Path(each).relative_to(PROJECT)) for each in local[service]["deps"]}
            assert deps == {"shared", f"services/{service}", "cli/trunkline/local"}

    def test_arguments_reach_the_processes(self) -> None:
        found = evaluated(LOCAL, "--state=/tmp/elsewhere", "--nodes=7", "--files=all")
        for name in (*SERVICES, "nats"):
            command = found[name]["serve_cmd"]
            assert command[command.index("--home") + 1] == "/tmp/elsewhere"
            assert found[name]["serve_env"]["TRUNKLINE_NODES"] == "7"
        demo = found["demo"]["cmd"]
        assert demo[demo.index("--home") + 1] == "/tmp/elsewhere"
        assert demo[demo.index("--files") + 1] == "all"
