"""The command as people use it: an installation that was left running, asked and told things."""

import json
import os
import re
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.support.command_line import SHOUT, Command

from trunkline.local.home import Home


def test_from_files_to_the_output_of_a_pipeline(trunkline: Command, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(SHOUT))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_text("some words\n")
    (tmp_path / "files" / "b").write_text("more words\n")

    trunkline.good("create", "repo", "texts")
    assert "version 1" in trunkline.good("apply", "-f", str(tmp_path / "spec.json")).out
    put = trunkline.good("put", "texts@master", "-r", "-f", str(tmp_path / "files"), "-o", "json")
    commit = put.json["id"]

    waited = trunkline.good("wait", f"texts@{commit}")
    assert f"shout@{commit[:12]} SUCCESS: 2 processed of 2 datums" in waited.out
    verified = trunkline.good("verify", f"shout@{commit[:8]}")
    assert re.search(r"^every byte +ok ", verified.out, re.MULTILINE)
    assert trunkline.good("cat", "shout@master:/*").out == "SOME WORDS\nMORE WORDS\n"
    assert trunkline.good("ls", "shout@master").out.splitlines()[1:] == ["/a    11 B", "/b    11 B"]
    trunkline.good("get", "file", "shout@master:/b", "-O", str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == "MORE WORDS\n"

    jobs = trunkline.good("list", "jobs", "shout", "-o", "json").json
    assert [(job["id"], job["state"]) for job in jobs] == [(commit, "SUCCESS")]
    datums = trunkline.good("get", "datums", f"shout@{commit[:8]}", "-o", "json").json
    assert [datum["state"] for datum in datums] == ["PROCESSED", "PROCESSED"]
    assert trunkline.good("inspect", "datum", "shout", "1", "-o", "json").json["index"] == 1
    assert "shouting a" in trunkline.good("logs", f"shout@{commit}", "--datum", "0").out
    assert "shouting b" not in trunkline.good("logs", f"shout@{commit}", "--datum", "0").out
    assert trunkline.good("inspect", "repo", "shout", "-o", "json").json["repo"]["pipeline"] is True
    assert trunkline.good("list", "workers").out.count("shout-") >= 1
    assert "spec-accepted" in trunkline.good("list", "events", "shout").out

    again = trunkline.good("apply", "--reprocess", "-f", str(tmp_path / "spec.json"))
    assert "version 2" in again.out
    assert "SUCCESS: 2 processed of 2 datums" in trunkline.good("wait", "shout").out
    rerun = trunkline.good("rerun", "pipeline", "shout").out.strip()
    assert trunkline.good("wait", "texts@master", "-o", "name").out.strip() == rerun
    one_more = trunkline.good("rerun", "job", rerun).out.strip()
    assert trunkline.good("wait", f"texts@{commit}", "-o", "name").out.strip() == one_more


def test_logs_are_chosen_by_what_printed_them_by_time_and_by_failure(trunkline: Command) -> None:
    cmd = [
        "sh",
        "-c",
        "echo first of $TRUNKLINE_DATUM_INDEX; echo why >&2; echo last; exit $TRUNKLINE_DATUM_INDEX",
    ]
    spec = {
        "pipeline": {"name": "talk"},
        "transform": {"cmd": cmd},
        "datum_tries": 2,
        "input": {"pfs": {"repo": "words", "glob": "/*"}},
    }
    trace = "0af7651916cd43dd8448eb211c80319c"
    trunkline.environ["TRACEPARENT"] = f"00-{trace}-b7ad6b7169203331-01"
    trunkline.good("create", "repo", "words")
    trunkline.good("apply", "-f", "-", stdin=json.dumps(spec))
    put = trunkline.good("put", "words:/a", "-f", "-", "-o", "json", stdin="x").json["id"]
    del trunkline.environ["TRACEPARENT"]
    trunkline.good("wait", "words@master")
    trunkline.good("put", "words:/b", "-f", "-", stdin="x")
    assert trunkline("wait", "words@master").code == 4

    of_first = trunkline.good("logs", f"talk@{put}", "-f")  # ends, since the job has
    assert sorted(of_first.out.splitlines()) == [
        f"[{put[:8]} 0 stderr] why",
        f"[{put[:8]} 0 stdout] first of 0",
        f"[{put[:8]} 0 stdout] last",
    ]
    entry = json.loads(trunkline.good("logs", f"talk@{put}", "-o", "json").out.splitlines()[0])
    assert (entry["pipeline"], entry["job"], entry["trace"]) == ("talk", put, trace)
    job = trunkline.good("inspect", "job", f"talk@{put}", "-o", "json").json
    assert trace in job["traceparent"]
    assert entry["traceparent"][:36] == job["traceparent"][:36]
    assert entry["traceparent"] != job["traceparent"]  # an attempt is a span of its own
    failed = trunkline.good("logs", "talk", "--failed").out
    assert "first of 0" not in failed
    assert re.findall(r" (1|1/2) agent\] (exit code 1)", failed) == [
        ("1", "exit code 1"),
        ("1/2", "exit code 1"),
    ]
    assert failed.count("first of 1") == failed.count("] why") == 2
    assert "datum 0 of" in trunkline.good("logs", "talk", "0", "--failed").err
    tail = trunkline.good("logs", "talk", "--tail", "1", "--timestamps").out
    assert re.fullmatch(r"20\S+Z \[\w+ 1/2 agent\] exit code 1 .*\n", tail)
    assert "nothing was printed since" in trunkline.good("logs", "talk", "--since", "0s").err
    assert trunkline.good("logs", "talk", "--since", "1h").out.count("first of") == 3
    worker = entry["line"]["worker"]
    assert "first of 0" in trunkline.good("logs", worker).out
    for never in ("nobody", f"{worker}99", "talk@ffff"):
        assert trunkline("logs", never).code == 5, never


def test_a_put_from_stdin_lies_over_what_is_there(trunkline: Command) -> None:
    trunkline.good("create", "repo", "notes")
    trunkline.good("put", "notes@master:/one", "-f", "-", stdin="1")
    trunkline.good("put", "notes@master:/two", "-f", "-", stdin="2")
    assert trunkline.good("cat", "notes@master:/*").out == "12"
    trunkline.good("put", "notes@master:/only", "--replace", "-f", "-", stdin="3")
    assert trunkline.good("cat", "notes:/").out == "3"
    assert len(trunkline.good("list", "commits", "notes", "-o", "json").json) == 3


@pytest.mark.parametrize("path", ["/a/../b", "a//b", "../x", "/a/.", "a\nb"])
def test_a_path_that_leaves_the_repo_is_refused_and_nothing_is_committed(
    trunkline: Command, path: str
) -> None:
    trunkline("create", "repo", "strict")
    done = trunkline("put", f"strict@master:{path}", "-f", "-", stdin="x")
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert trunkline.good("list", "commits", "strict", "-o", "json").json == []


def test_every_problem_of_a_spec_is_told_with_its_path(trunkline: Command) -> None:
    bad = "pipeline: {name: bad}\ninput: {pfs: {repo: gone, globb: /}}\ntransform: {cmd: []}\n"
    done = trunkline("apply", "-f", "-", stdin=bad)
    assert done.code == 1
    assert done.out == ""
    for path in ("$.input.pfs.globb", "$.input.pfs.glob", "$.transform.cmd"):
        assert f"{path}: " in done.err
    listed = trunkline.good("list", "pipelines", "-o", "json").json
    assert "bad" not in [view["pipeline"]["name"] for view in listed]


def test_a_published_spec_that_is_refused_shows_why(trunkline: Command) -> None:
    bad = "pipeline: {name: worse}\ninput: {pfs: {repo: gone, glob: /}}\ntransform: {cmd: [x]}\n"
    trunkline.good("apply", "--publish", "-f", "-", stdin=bad)
    while "worse" not in (listed := trunkline.good("list", "pipelines").out):
        pass
    assert "REFUSED" in listed
    assert "worse: REFUSED: $.input.pfs.repo: " in listed


def test_a_failed_job_ends_a_wait_with_its_own_code(trunkline: Command) -> None:
    spec = {
        "pipeline": {"name": "fails"},
        "input": {"pfs": {"repo": "bits", "glob": "/"}},
        "transform": {"cmd": ["/bin/sh", "-c", "echo no luck >&2; exit 7"]},
        "datum_tries": 1,
    }
    trunkline.good("create", "repo", "bits")
    trunkline.good("apply", "-f", "-", stdin=json.dumps(spec))
    trunkline.good("put", "bits:/a", "-f", "-", stdin="x")
    done = trunkline("wait", "bits@master")
    assert done.code == 4
    assert "FAILURE" in done.out
    assert "1 failed" in done.out
    datum = trunkline.good("inspect", "datum", "fails", "0", "-o", "json").json
    assert datum["outcome"]["exit_code"] == 7
    assert "no luck" in datum["outcome"]["log_tail"]


def test_a_datum_that_hangs_is_found_restarted_and_shown_and_a_job_that_hangs_is_killed(
    trunkline: Command, tmp_path: Path
) -> None:
    """The commit is there before the pipeline, so its job has another id than the commit."""

    def spec(**more: str) -> str:
        quick = tmp_path / "quick"
        script = f"echo begins; test -e {quick} || sleep 60"
        transform = {"cmd": ["/bin/sh", "-c", script]}
        pfs = {"repo": "queue", "glob": "/*"}
        return json.dumps(
            {"pipeline": {"name": "hang"}, "input": {"pfs": pfs}, "transform": transform, **more}
        )

    def shown(state: str) -> list[dict[str, Any]]:
        listed = trunkline.good("list", "datums", "hang", "--state", state, "-o", "json")
        return list(listed.json)

    trunkline.good("create", "repo", "queue")
    trunkline.good("put", "queue:/a", "-f", "-", stdin="x")
    trunkline.good("apply", "-f", "-", stdin=spec())
    while not (
        running := shown("running") if trunkline("list", "datums", "hang").code == 0 else []
    ):
        pass
    assert (running[0]["index"], running[0]["worker"][:5]) == (0, "hang-")
    (tmp_path / "quick").touch()
    assert "restarted 0" in trunkline.good("restart", "datum", "hang", "0").out
    assert "hang@" in trunkline.good("wait", "queue@master").out
    jobs = trunkline.good("list", "jobs", "hang").out
    assert "1 + 0 / 1" in jobs
    listed = trunkline.good("list", "datums", "hang", "-o", "json").json
    named = listed[0]["outcome"]["datum"][:12]
    datum = trunkline.good("inspect", "datum", "hang", named, "-o", "json").json
    assert (datum["generation"], datum["state"]) == (2, "PROCESSED")
    assert datum["outcome"]["figures"]["process_s"] > 0
    assert trunkline.good("logs", "hang", "--datum", named).out.count("begins") == 2
    refused = trunkline("restart", "datum", "hang", named)
    assert refused.code == 1
    assert "trunkline rerun" in refused.err

    (tmp_path / "quick").unlink()
    trunkline.good("apply", "-f", "-", stdin=spec(job_timeout="1s"))
    trunkline.good("put", "queue:/b", "-f", "-", stdin="x")
    late = trunkline("wait", "queue@master")
    assert late.code == 4
    assert "KILLED" in late.out
    assert "its job_timeout of 1 s is over" in late.out
    assert [each["index"] for each in shown("cancelled")] == [1]


def test_a_stopped_job_ends_with_all_it_runs_also_if_the_coordinator_dies_of_it(
    trunkline: Command, tmp_path: Path
) -> None:
    script = f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; sleep 60"
    spec = {
        "pipeline": {"name": "endless"},
        "input": {"pfs": {"repo": "endless-in", "glob": "/*"}},
        "transform": {"cmd": ["/bin/sh", "-c", script]},
    }
    trunkline.good("create", "repo", "endless-in")
    trunkline.good("apply", "-f", "-", stdin=json.dumps(spec))
    trunkline.good("put", "endless-in:/a", "-f", "-", stdin="x")
    while not (tmp_path / "pid").exists():
        time.sleep(0.05)
    pid = int((tmp_path / "pid").read_text())
    coordinator = (Home(trunkline.home).pids / "coordinator.pid").read_text().split()[0]
    trunkline.good("stop", "job", "endless")
    os.kill(int(coordinator), signal.SIGKILL)
    stopped = trunkline("wait", "endless")
    assert stopped.code == 4
    assert "KILLED" in stopped.out
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.05)


def test_what_is_not_there_has_its_own_code(trunkline: Command) -> None:
    for words in (
        ("inspect", "pipeline", "nothing"),
        ("inspect", "worker", "nobody"),
        ("explain", "nothing"),
        ("top", "nothing"),
        ("cat", "nothing@master:/x"),
        ("wait", "nothing@" + "0" * 32),
        ("delete", "repo", "nothing"),
    ):
        done = trunkline(*words)
        assert done.code == 5, (words, done)
        assert len(done.err.splitlines()) == 1


def test_a_second_installation_in_the_same_directory_is_refused(trunkline: Command) -> None:
    for words in (("up",), ("up", "--detach")):
        done = trunkline(*words)
        assert done.code == 1
        assert "already" in done.err
    shown = trunkline.good("status", "-o", "json").json["metrics"]
    assert list(shown) == ["coordinator", "scaler"]
    for url in shown.values():  # the sockets of the first one were not touched
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert b"trunkline_leader" in answer.read()


def test_nodes_are_set_and_shown(trunkline: Command) -> None:
    assert trunkline.good("nodes", "set", "2").out == "2 nodes\n"
    assert trunkline.good("nodes", "get", "-o", "json").json == {"count": 2}
