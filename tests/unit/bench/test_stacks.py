"""What the bench makes of sampled call stacks."""

import pytest
from bench import figures, profile, stacks

LOOP = (
    "main (/home/me/trunkline/services/worker-agent/trunkline/worker_agent/__main__.py:60)",
    "run (/venv/lib/python3.11/site-packages/uvloop/__init__.py:92)",
    "uv_run (/project/build/libuv-x86_64/src/unix/core.c:464)",
)
LIVE = "live (/home/me/trunkline/services/worker-agent/trunkline/worker_agent/datum.py:73)"
PUBLISH = "publish (/home/me/trunkline/shared/trunkline/bus/wire.py:20)"
FLUSHER = "_flusher (/venv/lib/python3.11/site-packages/nats/aio/client.py:2363)"
WRITE = "UVStream__exec_write (/project/uvloop/loop.c:108037)"
SYSCALL = "writev (/usr/lib/libc.so.6)"
ENCODE = "mpack (/venv/lib/python3.11/site-packages/msgspec/_core.cpython-311-x86_64-linux-gnu.so)"
COUNTED = "Py_DECREF (/usr/include/python3.11/object.h:538)"
TIMEOUT = "__aenter__ (/usr/lib/python3.11/asyncio/timeouts.py:88)"


def folded(*samples: tuple[tuple[str, ...], int]) -> str:
    return "\n".join(f"{';'.join((*LOOP, *frames))} {count}" for frames, count in samples)


@pytest.mark.parametrize(
    ("frame", "wanted"),
    [
        (LIVE, "trunkline/worker_agent/datum.py"),
        (FLUSHER, "nats/aio/client.py"),
        (WRITE, "uvloop/"),
        (ENCODE, "msgspec/_core.cpython-311-x86_64-linux-gnu.so"),
        (TIMEOUT, "asyncio/timeouts.py"),
        (SYSCALL, None),
        (COUNTED, None),
        ("0x7f25d664524a", None),
    ],
)
def test_a_frame_is_of_the_module_that_its_package_names(frame: str, wanted: str | None) -> None:
    assert stacks.module(frame) == wanted


def test_a_sample_is_of_the_innermost_frame_that_means_something() -> None:
    found = stacks.of_python(
        folded(
            ((FLUSHER, WRITE, SYSCALL), 4),  # the kernel works for the client
            ((LIVE, PUBLISH, COUNTED), 2),
            ((LIVE, TIMEOUT), 1),  # and asyncio for the datum
            ((LIVE, PUBLISH, ENCODE), 1),
            ((WRITE,), 2),  # in the loop, for nobody
        )
    )
    assert found.samples == 10
    assert found.by_purpose == {
        "client (NATS)": 0.6,
        stacks.LOOP: 0.2,
        "lease and datum": 0.1,
        "JSON": 0.1,
    }
    assert found.by_module["trunkline/bus/wire.py"] == 0.2
    assert found.by_module["uvloop/"] == 0.2
    assert found.by_function["_flusher (nats/aio/client.py)"] == 0.4


def test_a_thread_that_waits_is_no_sample() -> None:
    waiting = tuple(f"{call} (/usr/lib/libc.so.6)" for call in ("epoll_pwait", "poll", "waitid"))
    assert stacks.of_python(folded(*(((each,), 9) for each in waiting))).samples == 0
    assert stacks.of_python("0x7f8eb06a3f16 (/usr/lib/libc.so.6) 9").samples == 0


def test_a_server_is_split_by_what_holds_the_function() -> None:
    package = "github.com/nats-io/nats-server/v2/server"
    script = "\n\n".join(
        "\n".join(f"\t  7f8e {frame}" for frame in frames)
        for frames in (
            ("vfs_write", f"{package}.(*msgBlock).writeAt", f"{package}.(*stream).internalLoop"),
            ("runtime.memmove", f"{package}.(*client).parse", "runtime.goexit.abi0"),
            ("runtime.gcDrain", "runtime.goexit.abi0"),
            ("do_epoll_wait", "runtime.netpoll", "runtime.schedule"),
        )
    )
    found = stacks.of_server(script)
    assert set(found.by_purpose) == {
        "store",
        "connections and routing",
        "garbage collection",
        "scheduling",
    }
    assert found.by_module["server.(*msgBlock)"] == 0.25
    assert found.by_function["server.(*msgBlock).writeAt"] == 0.25


def test_shares_are_told_in_microseconds_of_the_whole() -> None:
    found = stacks.of_python(folded(((LIVE,), 3), ((PUBLISH,), 1)))
    lines = profile.told("agents", 200.0, found)
    assert lines[0] == f"agents: {figures.short(200)} us/datum, 4 samples"
    assert "   150.0   75.0%  lease and datum" in lines
    assert "    50.0   25.0%  trunkline/bus/wire.py" in lines
