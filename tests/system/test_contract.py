"""What a command may rely on, and what becomes of its datums, as a user sees it; on one installation."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support import installation
from tests.support.installation import Installation

from trunkline.contracts import errors
from trunkline.contracts.states import DatumState, JobState
from trunkline.storage.secrets import Secrets

MIXED = 'case "$in" in */b) exit 3;; */c) exit 4;; esac; cp "$in" "$PFS/out"'
RECOVER = 'case "$in" in */b) exit 7;; esac; exit 1'
PLAIN = """
    . "$PFS/.env"
    test "$in_COMMIT" = "$PACH_JOB_ID" && test "$PPS_PIPELINE_NAME-$PPS_SPEC_COMMIT" = plain-1
    ln -s "$in" "$PFS/out/link"
    echo elsewhere > %s && ln -s %s "$PFS/out/elsewhere"
    echo ${#WORD} > "$PFS/out/length"
    setsid sh -c "echo \\$\\$ > %s; exec sleep 600" & until test -s %s; do :; done
"""


def a_spec(name: str, script: str, *, glob: str = "/*", **more: Any) -> dict[str, Any]:
    transform = {"cmd": ["sh", "-ec", script], **more.pop("transform", {})}
    return {
        "pipeline": {"name": name},
        "transform": transform,
        "input": {"pfs": {"repo": "in", "glob": glob}},
        "parallelism_spec": {"constant": 1},
        **more,
    }


async def outcomes(here: Installation, pipeline: str, job: str) -> dict[str, Any]:
    return {view.state: view.outcome for view in await here.datums(pipeline, job)}


async def a_missing_secret_is_refused_and_one_that_is_there_is_handed_over(
    here: Installation, plain: dict[str, Any]
) -> None:
    with pytest.raises(errors.RequestRefusedError) as refused:
        await here.apply(plain)
    assert [path for path, _ in refused.value.problems] == ["$.transform.secrets[0].name"]
    Secrets(here.home / "secrets").create("db", {"word": b"geheim"})
    await here.apply(plain)


async def test_the_contract_holds_from_the_spec_to_the_outcomes(tmp_path: Path) -> None:
    left, other = tmp_path / "left", tmp_path / "other"
    secrets = [{"name": "db", "env_var": "WORD", "key": "word"}]
    unread = ["a line that nobody reads"] * 3_000
    plain = {"secrets": secrets, "stdin": unread}
    recover = {"err_cmd": ["sh", "-c", RECOVER], "accept_return_code": [7]}
    async with installation.running() as here:
        await here.repo("in")
        await a_missing_secret_is_refused_and_one_that_is_there_is_handed_over(
            here, a_spec("plain", PLAIN % (other, other, left, left), glob="/a", transform=plain)
        )
        await here.apply(a_spec("mixed", MIXED, transform=recover, datum_tries=2))
        await here.apply(
            a_spec("slow", "sleep 600", glob="/a", datum_timeout="0.3s", datum_tries=2)
        )
        first = await here.put("in", {"/a": b"1\n", "/b": b"2\n", "/c": b"3\n"})

        await here.succeeded("plain", first)
        assert await here.content("plain") == {
            "/elsewhere": hashlib.sha256(b"elsewhere\n").hexdigest(),
            "/link": hashlib.sha256(b"1\n").hexdigest(),
            "/length": hashlib.sha256(b"6\n").hexdigest(),
        }
        with pytest.raises(ProcessLookupError):
            os.kill(int(left.read_text()), 0)

        slow = await here.ended("slow", first)
        assert slow.state is JobState.FAILURE
        found = (await outcomes(here, "slow", first))[DatumState.FAILED]
        assert found.reason == "timed out after 0.3 s (try 2 of 2), input /a"

        mixed = await here.ended("mixed", first)
        assert mixed.state is JobState.FAILURE
        found = await outcomes(here, "mixed", first)
        assert found.keys() == {"PROCESSED", "RECOVERED", "FAILED"}
        assert found["RECOVERED"].attempts == 1
        assert found["FAILED"].attempts == 2
        assert found["FAILED"].reason.startswith("exit code 4; err_cmd: exit code 1 (try 2 of 2)")

        second = await here.put("in", {"/d": b"4\n"})
        counts = (await here.ended("mixed", second)).counts
        done = (counts.processed, counts.skipped, counts.recovered, counts.failed)
        assert done == (1, 1, 1, 1)  # what was recovered is not done: it has run again
