"""What the bench makes of /proc and of control groups."""

import os
import subprocess
import sys
import time

import pytest
from bench import cgroups, metering, processes

BUSY = "import time\nwhile time.process_time() < 0.1: pass"


def test_a_name_with_parentheses_and_blanks_does_not_shift_the_fields() -> None:
    line = "42 (a) b (c) S 7 " + " ".join(["0"] * 9) + " 1 20 300 4000 0 0"
    assert processes.parse_stat(line) == processes.Process(42, 7, 4321)


def test_a_tree_holds_descendants_and_nobody_else() -> None:
    parents = {1: 0, 2: 1, 3: 2, 4: 1, 5: 4}
    everything = [processes.Process(pid, parent, 0) for pid, parent in parents.items()]
    assert sorted(each.pid for each in processes.below(2, everything)) == [2, 3]
    assert sorted(each.pid for each in processes.below(1, everything)) == [1, 2, 3, 4, 5]


def test_a_zombie_has_no_peak() -> None:
    assert processes.parse_peak("Name:\tx\nVmHWM:\t   12 kB\n") == 12 * 1024
    assert processes.parse_peak("Name:\tx\nState:\tZ\n") == 0


def test_a_process_that_is_gone_has_no_clock() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY]) as child:
        child.wait()
    assert processes.own_cpu_s(child.pid) is None
    own_s = processes.own_cpu_s(os.getpid())
    assert own_s is not None
    assert own_s <= time.process_time()


def test_the_whole_of_a_group_is_what_it_was_charged() -> None:
    assert cgroups.parse_cpu_s("usage_usec 2500000\nuser_usec 1\nsystem_usec 1\n") == 2.5


def test_the_own_group_is_that_of_version_2() -> None:
    assert cgroups.parse_own("8:pids:/a\n0::/b/c\n") == "/b/c"
    assert cgroups.parse_own("8:pids:/a\n") is None
    mounts = "cgroup /sys/cpu cgroup rw 0 0\ncgroup2 /sys/unified cgroup2 rw 0 0\n"
    assert str(cgroups.parse_mount(mounts)) == "/sys/unified"
    assert cgroups.parse_mount("proc /proc proc rw 0 0\n") is None


@pytest.mark.parametrize(
    ("command", "parent", "wanted"),
    [
        ("/venv/bin/nats-server -c /home/nats/server.conf", "client", "nats-server"),
        ("python -m trunkline.coordinator", "client", "coordinator"),
        ("python -m trunkline.local.scaler", "client", "scaler"),
        ("python -m trunkline.local.pool", "client", "pool"),
        ("python -m trunkline.local.pool", "pool", "agents"),
        ("python -m trunkline.local.pool", "agents", "shims"),
        ("python -m trunkline.local.pool", "shims", "commands"),
        ("/bin/cat", "shims", "commands"),
        ("/bin/sh", "commands", "commands"),
        ("/bin/sleep 60", "pool", "commands"),
        ("python -m bench", "client", "client"),
    ],
)
def test_a_process_is_of_the_kind_that_its_parents_make_it(
    command: str, parent: str, wanted: str
) -> None:
    assert metering.kind(command, parent) == wanted


def test_what_nobody_else_has_used_was_used_by_commands() -> None:
    tally = metering.Tally()
    tally.look({1: ("client", 5.0), 2: ("agents", 3.0)})
    tally.begin()
    tally.look({1: ("client", 5.5), 2: ("agents", 4.0), 3: ("agents", 0.25)})
    found = tally.cpu_of(3.0)
    assert (found["client"], found["agents"], found["commands"]) == (0.5, 1.25, 1.25)
    assert sum(found.values()) == 3.0


def test_a_process_that_died_keeps_what_it_had_used_when_it_was_last_seen() -> None:
    tally = metering.Tally()
    tally.look({2: ("agents", 3.0)})
    tally.begin()
    tally.look({2: ("agents", 4.0)})
    tally.look({})
    assert tally.cpu_of(1.5)["agents"] == 1.0


def test_a_number_that_was_given_to_another_process_is_another_process() -> None:
    tally = metering.Tally()
    tally.look({2: ("agents", 3.0)})
    tally.begin()
    tally.look({2: ("agents", 4.0)})
    tally.look({2: ("shims", 0.5)})
    found = tally.cpu_of(1.5)
    assert (found["agents"], found["shims"]) == (1.0, 0.5)


def test_parts_that_were_read_later_than_the_whole_leave_commands_nothing_rather_than_less() -> (
    None
):
    tally = metering.Tally()
    tally.look({2: ("agents", 1.0)})
    assert tally.cpu_of(0.9)["commands"] == 0.0


def test_a_child_that_came_and_went_is_counted() -> None:
    with metering.Meter(os.getpid(), None) as meter:
        # some ticks longer: a tree's counters are whole ticks, and each of them is rounded down
        subprocess.run([sys.executable, "-c", BUSY.replace("0.1", "0.15")], check=True)
    assert meter.usage.cpu_s >= 0.1 - processes.TICK_S
    assert meter.usage.rss_of["client"] > 0


def test_a_group_counts_a_child_that_somebody_else_reaps() -> None:
    """Its parent ends first, so nobody in the tree ever waits for it."""
    orphaning = f"import os\nif not os.fork(): exec({BUSY!r}); os._exit(0)"
    measure = (
        "import os, subprocess, sys, time\n"
        "from bench import cgroups, metering\n"
        "with cgroups.entered() as group:\n"
        "    if group is None: sys.exit(77)\n"
        "    with metering.Meter(os.getpid(), group) as meter:\n"
        "        began_s = time.process_time()\n"
        f"        subprocess.run([sys.executable, '-c', {orphaning!r}], check=True)\n"
        "        while group.pids() != [os.getpid()]: time.sleep(0.01)\n"
        "        own_s = time.process_time() - began_s\n"
        "print(meter.usage.cpu_s - own_s)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", measure], check=False, capture_output=True, text=True
    )
    if ended.returncode == 77:
        pytest.skip("no control group of version 2 may be made here")
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) >= 0.1
