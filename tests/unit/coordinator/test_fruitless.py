"""Why a job has no datums at all."""

import pytest

from trunkline.contracts import records
from trunkline.coordinator.core import fruitless
from trunkline.coordinator.core.fruitless import Look


def look(repo: str, files: int, *, matches: bool = False, glob: str = "/*.csv") -> Look:
    given = records.JobInput(name=repo, repo=repo, branch="master", commit="c1")
    return Look(given, glob, files, matches)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (0, "in@master has no files"),
        (1, "the only file of in@master does not match the glob '/*.csv'"),
        (12, "none of the 12 files of in@master matches the glob '/*.csv'"),
    ],
)
def test_an_input_without_a_match_is_named_with_its_files_and_its_glob(files, told):
    assert fruitless.why([look("in", files)]) == f"no datums: {told}"


def test_of_several_inputs_those_are_named_that_have_none():
    found = fruitless.why([look("a", 3), look("b", 5, matches=True), look("c", 0)])
    assert found == (
        "no datums: none of the 3 files of a@master matches the glob '/*.csv'; c@master has no files"
    )


def test_inputs_that_all_have_matches_have_no_common_keys():
    assert "keys" in fruitless.why([look("a", 3, matches=True), look("b", 5, matches=True)])


def test_what_is_said_stays_short_and_on_one_line():
    found = fruitless.why([look(f"r{n}", 3, glob="/*\n" * 100) for n in range(50)])
    assert len(found) == fruitless.LENGTH
    assert "\n" not in found
