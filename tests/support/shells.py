"""Real shells, asked what they would complete."""

import os
import pty
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

_ASK = """
source <(trunkline completion bash)
while IFS= read -r COMP_LINE; do
    COMP_POINT=${#COMP_LINE}
    _trunkline_completion trunkline
    echo "${COMPREPLY[*]}"
done
"""

_TYPING = {
    "bash": r"""
bind 'set enable-bracketed-paste off'
bind -x '"\C-x\C-r": printf "<<%s>>" "$READLINE_LINE"'
PS1='ready: '
source <(trunkline completion bash)
""",
    "zsh": r"""
unset zle_bracketed_paste
told() { printf "<<%s>>" "$BUFFER"; }
zle -N told
bindkey -e
bindkey '^X^R' told
PS1='ready: '
autoload -Uz compinit
compinit -u -D
source <(trunkline completion zsh)
""",
    "fish": r"""
bind \cx\cr 'printf "<<%s>>" (commandline)'
function fish_prompt; printf 'ready: '; end
trunkline completion fish | source
""",
}
"""What each shell is told before anything is typed: with C-x C-r it says what stands at the prompt."""


def program(shell: str) -> str | None:
    """Return where a shell is, if this machine has it."""
    return shutil.which(shell)


here = pytest.mark.parametrize(
    "shell",
    [
        pytest.param(each, marks=pytest.mark.skipif(not program(each), reason="is not installed"))
        for each in _TYPING
    ],
)
"""Marks a test that is done for each shell that this machine has."""


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


def typed(shell: str, lines: Sequence[str], environ: Mapping[str, str], home: Path) -> list[str]:
    """Return what stands at a shell's prompt after each line and a Tab, on a terminal.

    Args:
        shell: Which one; this machine must have it.
        lines: What is typed.
        environ: What the shell is started with.
        home: Where it is started, and what it has for its files.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *_interactive(shell, home)],  # fish wants the terminal to be its own
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=home,
        env={**environ, "TERM": "dumb", "COLUMNS": "500", "HOME": str(home), "ZDOTDIR": str(home)},
    )
    try:
        _until(ours, b"ready: ")
        found = []
        for line in lines:
            os.write(ours, f"\x15{line}\t\x18\x12".encode())  # C-u, the line, Tab, C-x C-r
            found.append(_until(ours, b">>").rpartition(b"<<")[2].decode())
        return found
    finally:
        process.kill()
        process.wait()
        for each in (ours, theirs):
            os.close(each)


def _interactive(shell: str, home: Path) -> list[str]:
    """Return how a shell is started that reads nothing at first but what `_TYPING` has for it."""
    if shell == "fish":
        return [shell, "--no-config", "--interactive", "--init-command", _TYPING[shell]]
    start = home / ".zshrc"
    start.write_text(_TYPING[shell])
    return [shell, "-i"] if shell == "zsh" else [shell, "--noprofile", "--rcfile", str(start), "-i"]


def _until(terminal: int, end: bytes) -> bytes:
    said = b""
    while end not in said:
        said += os.read(terminal, 4096)
    return said.partition(end)[0]
