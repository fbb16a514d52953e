"""Secrets, from a directory of this machine to commands."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import refused
from tests.support.nats import TestServer
from tests.support.workers import Lab
from tests.support.workers import lab as make_lab

from trunkline.contracts.states import DatumState
from trunkline.storage.secrets import Secrets

MOUNTED = "/secret-of-a-test/db"
GIVEN = [
    {"name": "db", "env_var": "WORD", "key": "word"},
    {"name": "db", "mount_path": MOUNTED},
]
SCRIPT = f"""
    echo "$WORD" > $PFS/out/variable; cat {MOUNTED}/word > $PFS/out/file
    cp $PFS/.env $PFS/out/lines
"""


@pytest.fixture
async def lab(nats_server: TestServer) -> AsyncIterator[Lab]:
    async with make_lab(nats_server) as made:
        yield made


async def test_commands_get_secrets_as_variables_and_files_and_nobody_else_does(
    lab: Lab, tmp_path: Path
) -> None:
    secrets = Secrets(tmp_path / "secrets")
    secrets.create("db", {"word": b"geheim"})
    ticket = await lab.shell(SCRIPT, secrets=GIVEN)
    task = await lab.datum(ticket)
    worker = await lab.worker("w1", ticket, secrets_dir=tmp_path / "secrets")
    outcome = await lab.outcome(task)
    if "refuses mount namespaces" in outcome.reason:
        refused.namespaces()
    assert outcome.state is DatumState.PROCESSED, outcome.reason
    found = await lab.read(outcome)
    assert (found["/variable"], found["/file"]) == (b"geheim\n", b"geheim")
    assert b"geheim" not in found["/lines"]
    secrets.create("db", {"word": b"other"}, replace=True)
    again = await lab.read(await lab.outcome(await lab.datum(ticket, 1)))
    assert (again["/variable"], again["/file"]) == (b"other\n", b"other")
    secrets.remove("db")
    gone = await lab.outcome(await lab.datum(ticket, 2))
    assert gone.state is DatumState.FAILED
    assert "trunkline create secret db" in gone.reason
    secrets.create("db", {"word": b"third"})
    third = await lab.read(await lab.outcome(await lab.datum(ticket, 3)))
    assert (third["/variable"], third["/file"]) == (b"third\n", b"third")
    assert "geheim" not in worker.log.read_text()
    assert not Path(MOUNTED).exists()


async def test_a_warm_command_is_started_anew_by_the_first_datum_after_a_variable_has_changed(
    lab: Lab, tmp_path: Path
) -> None:
    secrets = Secrets(tmp_path / "secrets")
    secrets.create("db", {"word": b"geheim"})
    script = """while eval "$(trunkline-next)"; do echo "$$ $WORD" > $PFS/out/word; done"""
    ticket = await lab.shell(script, secrets=[GIVEN[0]], datum_batching=True)
    await lab.worker("w1", ticket, secrets_dir=tmp_path / "secrets")
    made = []
    for index, word in enumerate((b"geheim", b"geheim", b"other")):
        secrets.create("db", {"word": word}, replace=True)
        outcome = await lab.outcome(await lab.datum(ticket, index))
        made.append((await lab.read(outcome))["/word"].split())
    assert [word for _, word in made] == [b"geheim", b"geheim", b"other"]
    assert made[0][0] == made[1][0] != made[2][0]


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (
            GIVEN[0],
            "secret 'db' has no key 'word': create it by `trunkline create secret db --from",
        ),
        (GIVEN[1], "secret 'db' does not exist: create it by `trunkline create secret db -f FILE`"),
    ],
    ids=["variable", "files"],
)
async def test_a_secret_that_is_missing_fails_its_datums_and_says_what_to_do(
    lab: Lab, tmp_path: Path, secret: dict[str, str], reason: str
) -> None:
    ticket = await lab.shell("true", tries=2, secrets=[secret], err_cmd=["true"])
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket, secrets_dir=tmp_path / "secrets")
    outcome = await lab.outcome(task)
    assert (outcome.state, outcome.attempts) == (DatumState.FAILED, 2)
    assert outcome.reason.startswith(reason)
