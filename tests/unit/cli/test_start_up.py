"""What the command answers at once: it imports nothing that is slow."""

import json
import subprocess
import sys

import pytest

SLOW = {"nats", "aiohttp", "obstore", "uvloop", "rich", "msgspec", "yaml", "asyncio"}

PROBE = """
import json, sys
from trunkline.cli.__main__ import main
try:
    main(args=sys.argv[1:], prog_name="trunkline")
except SystemExit as leave:
    code = leave.code
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["version"], ["apply", "--help"], ["list", "jobs", "--help"], ["top", "--help"]],
)
def test_help_and_version_import_nothing_slow(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    assert done.stdout
    assert not SLOW & set(modules)


def test_completion_imports_nothing_slow() -> None:
    probe = PROBE.replace("main(args", "import click; main(args")
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={
            "_TRUNKLINE_COMPLETE": "bash_complete",
            "COMP_WORDS": "trunkline in",
            "COMP_CWORD": "1",
        },
    )
    _, modules = json.loads(done.stderr.splitlines()[-1])
    assert "inspect" in done.stdout
    assert not SLOW & set(modules)
