"""Real shells, asked what they would complete."""

import os
import pty
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_ASK = """
source <(trunkline completion bash)
while IFS= read -r COMP_LINE; do
    COMP_POINT=${#COMP_LINE}
    _trunkline_completion trunkline
    echo "${COMPREPLY[*]}"
done
"""

_TYPING = r"""
bind 'set enable-bracketed-paste off'
bind -x '"\C-x\C-r": printf "<<%s>>" "$READLINE_LINE"'
PS1='ready: '
source <(trunkline completion bash)
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


def typed(lines: Sequence[str], environ: Mapping[str, str], cwd: Path | None = None) -> list[str]:
    """Return what stands at bash's prompt after each line and a Tab, on a terminal."""
    ours, theirs = pty.openpty()
    reading, writing = os.pipe()
    os.write(writing, _TYPING.encode())
    os.close(writing)
    shell = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", f"/dev/fd/{reading}", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        pass_fds=[reading],
        start_new_session=True,
        cwd=cwd,
        env={**environ, "TERM": "dumb", "COLUMNS": "500"},
    )
    try:
        _until(ours, b"ready: ")
        found = []
        for line in lines:
            os.write(ours, f"\x15{line}\t\x18\x12".encode())  # C-u, the line, Tab, C-x C-r
            found.append(_until(ours, b">>").rpartition(b"<<")[2].decode())
        return found
    finally:
        shell.kill()
        shell.wait()
        for each in (ours, theirs, reading):
            os.close(each)


def _until(terminal: int, end: bytes) -> bytes:
    said = b""
    while end not in said:
        said += os.read(terminal, 4096)
    return said.partition(end)[0]
