"""What links lead to in the command's own world is opened by the shim, and looked at once it is open."""

import asyncio
import os
import socket

import pytest
from tests.support.shims import ShimProcess

from trunkline.contracts import errors
from trunkline.storage.links import Elsewhere
from trunkline.worker_agent.elsewhere import Opener


async def refused(shim: ShimProcess, target: str, user: str = "") -> str:
    async with asyncio.timeout(10):
        with pytest.raises(errors.InvalidPathError) as caught:
            await Opener(shim.link, user).open(Elsewhere("/link", target))
    assert caught.value.path == "/link"
    assert f"it is a link to {target!r}, " in caught.value.reason
    return caught.value.reason


async def test_a_regular_file_is_opened_also_by_further_links(shim, tmp_path):
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    async with asyncio.timeout(10):
        source = await Opener(shim.link, "").open(Elsewhere("/link", f"{tmp_path}/link"))
    with source:
        assert source.read() == b"content"


async def test_what_is_no_regular_file_is_refused_with_the_reason(shim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert "cannot be opened: No such file" in await refused(shim, f"{tmp_path}/no")
        assert "no regular file" in await refused(shim, f"{tmp_path}/pipe")
        assert "cannot be opened: No such device" in await refused(shim, f"{tmp_path}/socket")
        assert "a directory: out there only links to files" in await refused(shim, str(tmp_path))
    os.symlink("round", "round")  # noqa: PTH211
    assert "cannot be opened: Too many levels" in await refused(shim, f"{tmp_path}/round")
    assert "cannot be opened: File name too long" in await refused(shim, "/" + "a" * 5000)


async def test_what_the_kernel_says_of_the_moment_is_no_file_by_whatever_way(shim, tmp_path):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for target in (
        "/proc/self/environ",
        "/sys/kernel/uevent_seqnum",
        "/dev/null",
        "/tmp/../dev/zero",
    ):
        assert "no file that holds anything" in await refused(shim, target)
    (tmp_path / "way").symlink_to("/proc/self")
    assert "(proc)" in await refused(shim, f"{tmp_path}/way/environ")
    (tmp_path / "null").symlink_to("/dev/null")
    assert "no regular file" in await refused(shim, f"{tmp_path}/null")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
async def test_what_the_command_s_user_may_not_read_is_refused(shim, tmp_path):
    (tmp_path / "file").touch(mode=0o600)
    reason = await refused(shim, f"{tmp_path}/file", "nobody")
    assert "cannot be opened: Permission denied" in reason
