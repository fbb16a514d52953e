"""The Tiltfile, read by Tilt itself where there is one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import rendering
from tests.support.tiltfile import PATH, PROJECT, Tiltfile


def program() -> str | None:
    return os.environ.get("TILT") or shutil.which("tilt")


@pytest.mark.skipif(program() is None, reason="no tilt: neither TILT nor PATH names one")
@pytest.mark.parametrize("words", [[], ["--mode=local"]])
def test_tilt_declares_what_is_evaluated_here(words: list[str], tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "PATH": f"{rendering.KUBECTL.parent}:{os.environ['PATH']}",
        "KUBECONFIG": str(tmp_path / "none"),
        "TILT_DISABLE_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
        "VENV": sys.prefix,
    }
    command = [str(program()), "alpha", "tiltfile-result", "-f", str(PATH), "--", *words]
    done = subprocess.run(
        command, cwd=PROJECT, env=environ, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    declared = {each["Name"] for each in json.loads(done.stdout)["Manifests"]}
    assert declared == set(Tiltfile(*words, VENV=sys.prefix).resources)
