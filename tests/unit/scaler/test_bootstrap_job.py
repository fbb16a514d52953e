"""The bootstrap job as it is run: a directory, which only its owner may read."""

import stat
from pathlib import Path

import pytest

from trunkline.bus import bootstrap as making
from trunkline.scaler import bootstrap


def test_the_job_says_what_it_wrote_and_a_second_one_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "shelf"
    bootstrap.main(["--directory", str(directory)])
    written = set(capsys.readouterr().out.split())
    assert {"resolver.conf", "data-key", "workers.seed", "scaler-data.creds"} <= written
    assert written == {path.name for path in directory.iterdir()} - {".lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.glob("[a-zA-Z]*")} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    bootstrap.main(["--directory", str(directory)])
    assert capsys.readouterr().out == ""
    bootstrap.main(["--directory", str(directory), "--rotate", "user"])
    assert capsys.readouterr().out.split() == ["USERS.jwt", "user.creds", "resolver.conf"]


def test_what_cannot_be_rotated_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="one of"):
        bootstrap.main(["--directory", str(tmp_path), "--rotate", "worker"])
    (tmp_path / making.seed_of("DATA")).write_text("no seed")
    with pytest.raises(SystemExit, match="a seed cannot be used"):
        bootstrap.main(["--directory", str(tmp_path)])
