"""Logs of services are bounded, and their last lines can be read."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from trunkline.local import log_files


def line(number: int) -> bytes:
    return b"%08d %s\n" % (number, b"x" * 90)


async def test_a_service_that_goes_on_writing_has_a_bounded_log_with_its_last_lines(
    tmp_path: Path,
) -> None:
    """It writes by the descriptor that it was started with, as a process does that never reopens it."""
    path = tmp_path / "it.log"
    most, count = 10_000, 2_000
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(log_files.keep_small(tmp_path, most=most, look_s=0))
        for number in range(count):
            os.write(descriptor, line(number))
            if number % 50 == 0:
                while path.stat().st_size > most:
                    await asyncio.sleep(0.001)
        keeping.cancel()
    os.close(descriptor)
    before = tmp_path / "it.log.1"
    assert path.stat().st_size + before.stat().st_size < 4 * most
    kept = before.read_bytes() + path.read_bytes()
    assert kept.endswith(line(count - 1))
    assert len(kept) > most
    assert sorted(each.name for each in tmp_path.iterdir()) == ["it.log", "it.log.1"]
    assert before.stat().st_mode & 0o777 == 0o600


def test_a_log_for_whose_copy_there_is_no_room_is_emptied_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = tmp_path / "it.log", tmp_path / "it.log.1"
    before.write_bytes(b"older\n")
    path.write_bytes(line(1) * 10)

    def full(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    assert log_files.rotate(path, 100)
    assert path.read_bytes() == b""
    assert before.read_bytes() == b"older\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_log_that_is_small_or_gone_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "it.log"
    assert not log_files.rotate(path, 100)
    path.write_bytes(b"few\n")
    assert not log_files.rotate(path, 100)
    assert path.read_bytes() == b"few\n"
