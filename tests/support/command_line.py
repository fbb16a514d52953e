"""The command `trunkline` as a process of its own, and a pipeline for it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

SHOUT = {
    "pipeline": {"name": "shout"},
    "input": {"pfs": {"repo": "texts", "glob": "/*"}},
    "parallelism_spec": {"constant": 1},
    "transform": {
        "cmd": ["/bin/sh"],
        "stdin": [
            'cd "${PFS:-/pfs}"',
            "for file in texts/*; do",
            '  echo "shouting ${file##*/}"',
            '  tr a-z A-Z < "$file" > "out/${file##*/}"',
            "done",
        ],
    },
}


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """The command `trunkline`, told where its installation is by the environment."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {
            **{key: value for key, value in os.environ.items() if "TRUNKLINE" not in key},
            "TRUNKLINE_HOME": str(home),
        }

    def __call__(self, *arguments: str, stdin: str = "", timeout_s: float = 60) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "trunkline.cli", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=timeout_s,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def good(self, *arguments: str, stdin: str = "") -> Done:
        done = self(*arguments, stdin=stdin)
        assert done.code == 0, done
        return done
