"""Real shells, asked what they would complete."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence

_ASK = """
source <(trunkline completion bash)
while IFS= read -r COMP_LINE; do
    COMP_POINT=${#COMP_LINE}
    _trunkline_completion trunkline
    echo "${COMPREPLY[*]}"
done
"""


def program(shell: str) -> str | None:
    """Return where a shell is, if this machine has it."""
    return shutil.which(shell)


def bash(lines: Sequence[str], environ: Mapping[str, str]) -> list[list[str]]:
    """Return what bash offers at the end of each line; fail if it says anything else."""
    done = subprocess.run(
        ["bash", "-c", _ASK],
        input="".join(f"{line}\n" for line in lines),
        text=True,
        capture_output=True,
        env=environ,
        check=True,
    )
    assert done.stderr == ""
    return [each.split() for each in done.stdout.splitlines()]
