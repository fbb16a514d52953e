import re
import subprocess
from pathlib import Path

import pytest

from trunkline.contracts.messages import DatumInput, DatumTask, JobTicket
from trunkline.contracts.spec import Transform
from trunkline.worker_agent import environment


def made(
    path: str = "/d/x",
    *,
    name: str = "images",
    env: dict[str, str] | None = None,
    pfs: str = "/pfs",
    join_on: str = "",
    group_by: str = "",
):
    ticket = JobTicket(
        job="1" * 32, version=1, code_hash="c", transform=Transform(cmd=("x",), env=env or {})
    )
    given = DatumInput(
        name=name, path=path, commit="abc", files=(), join_on=join_on, group_by=group_by
    )
    task = DatumTask(
        pipeline="edges", job="1" * 32, index=4, datum="d1", fingerprint="f", inputs=(given,)
    )
    of_job = environment.of_job(ticket, task, pfs=pfs, worker="w1", address="10.0.0.9")
    return {**of_job, **environment.of_datum(task, pfs=pfs, traceparent="00-1-2-01")}


def test_an_input_is_named_by_what_its_glob_matched():
    assert made("/d/x")["images"] == "/pfs/images/d/x"
    assert made("/d/")["images"] == "/pfs/images/d"
    assert made("/")["images"] == "/pfs/images"
    assert made("/d", pfs="/home/w1/pfs")["images"] == "/home/w1/pfs/images/d"


def test_a_file_that_was_joined_or_grouped_has_its_keys():
    env = made(join_on="a-1", group_by="1")
    assert env["PACH_DATUM_images_JOIN_ON"] == "a-1"
    assert env["PACH_DATUM_images_GROUP_BY"] == "1"
    assert not any(name.startswith("PACH_DATUM_images") for name in made())


def test_the_spec_s_variables_stand_below_the_datum_s_and_the_facts():
    env = made(env={"MINE": "1", "images": "no", "PACH_JOB_ID": "no"})
    assert env["MINE"] == "1"
    assert env["images"] == "/pfs/images/d/x"
    assert env["PACH_JOB_ID"] == "1" * 32


@pytest.mark.parametrize("name", sorted(made().keys() - {"images", "images_COMMIT"}))
def test_an_input_cannot_take_the_name_of_a_fact(name):
    assert made(name=name)[name] == made()[name]


def test_the_page_names_each_variable_and_no_other():
    page = Path(__file__).parents[3] / "docs" / "worker-contract.md"
    _, _, rest = page.read_text().partition("## Environment\n")
    first = [row.split("|")[1] for row in rest.partition("\n## ")[0].splitlines() if "|" in row]
    told = {
        name.replace("<input>", "images") for cell in first for name in re.findall(r"`(.+?)`", cell)
    }
    assert told == made(join_on="a", group_by="b").keys()


def test_a_shell_reads_the_variables_back_from_their_lines(tmp_path):
    hostile = {"A": "it's", "B": '$(exit 3) `exit 4` \\ "', "C": "two\nlines ", "D": ""}
    (tmp_path / "env").write_text(environment.lines(hostile))
    script = '. ./env; printf "%s|" "$A" "$B" "$C" "$D"'
    done = subprocess.run(
        ["sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "".join(f"{value}|" for value in hostile.values())


def test_only_harmless_variables_are_inherited():
    given = {
        "PATH": "/usr/bin",
        "LANG": "de_DE.UTF-8",
        "LC_ALL": "C",
        "TRUNKLINE_DATA_URL": "nats://user:password@host",
        "TRUNKLINE_STORE": "s3://bucket",
        "TRUNKLINE_WARD": "0123456789abcdef",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "NATS_URL": "nats://host",
    }
    assert environment.base(given) == {
        "PATH": "/usr/bin",
        "HOME": "/tmp",
        "LANG": "de_DE.UTF-8",
        "LC_ALL": "C",
    }
