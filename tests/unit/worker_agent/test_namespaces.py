import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.support import refused

_PRESENT = """
import os, sys
from pathlib import Path
from trunkline.worker_agent import namespaces
home = Path(sys.argv[1])
if sys.argv[2] == "nobody":
    os.setgid(65534)
    os.setuid(65534)
why = namespaces.present(home / "pfs", home / "root")
if why:
    print("refused:", why, flush=True)
    sys.exit(9)
for path in sys.argv[4:]:
    try:
        namespaces.show(str(home / "secret"), path)
    except OSError as error:
        print(path, error.strerror, flush=True)
os.execvp("sh", ["sh", "-c", sys.argv[3]])
"""


def present(home: Path, who: str, script: str, *shown: str) -> subprocess.CompletedProcess[str]:
    (home / "pfs").mkdir()
    (home / "root").mkdir()
    (home / "secret").mkdir()
    (home / "secret" / "word").write_text("geheim\n")
    home.chmod(0o777)
    (home / "pfs").chmod(0o777)
    (home / "pfs" / "hello").write_text("inside\n")
    if who == "nobody":
        os.chown(home / "root", 65534, 65534)
    done = subprocess.run(
        [sys.executable, "-c", _PRESENT, str(home), who, script, *shown],
        capture_output=True,
        check=False,
        text=True,
        timeout=20,
    )
    if done.returncode == 9:
        refused.namespaces(done.stdout)
    return done


USERS = ["self"] + (["nobody"] if os.getuid() == 0 else [])


@pytest.fixture
def home():
    """A directory that other users reach, too."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.parametrize("who", USERS)
def test_a_command_sees_its_worker_s_directory_as_pfs(home, who):
    done = present(
        home, who, "cat /pfs/hello; echo out > /pfs/new; ls -d /usr/bin /proc/self /dev/null"
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["inside", "/dev/null", "/proc/self", "/usr/bin"]
    assert (home / "pfs" / "new").read_text() == "out\n"


@pytest.mark.parametrize("who", USERS)
def test_the_user_stays_who_he_was(home, who):
    done = present(home, who, "id -u; id -g")
    expected = ["65534"] * 2 if who == "nobody" else [str(os.getuid()), str(os.getgid())]
    assert done.stdout.split() == expected


def test_nothing_of_it_is_seen_outside(home):
    mounts = Path("/proc/self/mounts").read_text()
    was_there = Path("/pfs").exists()
    done = present(home, "self", "cat /proc/self/mounts; echo > /made-in-root; ls -d /made-in-root")
    assert " /pfs " in done.stdout
    assert Path("/proc/self/mounts").read_text() == mounts
    assert Path("/pfs").exists() == was_there
    assert not Path("/made-in-root").exists()


@pytest.mark.parametrize("who", USERS)
def test_further_directories_are_shown_read_only_and_made_in_this_namespace_only(home, who):
    if Path("/pfs").exists():
        pytest.skip("there is no root of our own to make them in")
    (home / "there").mkdir()
    script = "cat /secret-of-a-test/db/word /secret-of-a-test/tls/word $0/word; echo 1 > $0/more"
    shown = ["/secret-of-a-test/db", "/secret-of-a-test/tls", str(home / "there")]
    done = present(home, who, script.replace("$0", str(home / "there")), *shown)
    assert done.stdout == "geheim\n" * 3
    assert "ead-only" in done.stderr
    assert not Path("/secret-of-a-test").exists()
    assert list((home / "there").iterdir()) == []
    assert [each.name for each in (home / "secret").iterdir()] == ["word"]


def test_nothing_is_made_on_the_machine_and_nothing_covers_pfs(home):
    missing = str(home / "missing")
    done = present(home, "self", "ls /pfs", missing, "/", "/pfs/x", "/usr/../pfs")
    why = "it would cover what commands need"
    assert done.stdout.splitlines() == [
        f"{missing} No such file or directory",
        *(f"{path} {why}" for path in ("/", "/pfs/x", "/usr/../pfs")),
        "hello",
    ]
    assert not (home / "missing").exists()
