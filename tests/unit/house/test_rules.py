"""What holds for the tree as a whole and no other tool checks."""

import re
import tomllib
from pathlib import Path

import pytest
from tests.support import metrics_table, settings_table, subjects_table

from trunkline.contracts import globs, spec, spec_parsing

ROOT = Path(__file__).parents[3]
ROOMS = ("shared", "services/coordinator", "services/scaler", "services/worker-agent", "cli", "sdk")
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
SPECS = sorted(
    path
    for path in (ROOT / "examples").rglob("*")
    if path.suffix in (".json", ".yaml", ".yml") and path.is_file()
)


def test_no_room_takes_the_namespace_for_itself() -> None:
    assert not [room for room in ROOMS if (ROOT / room / "trunkline" / "__init__.py").exists()]


def test_the_rooms_that_the_build_knows_are_those_that_there_are() -> None:
    there = {
        str(path.parent.relative_to(ROOT))
        for folder in ("shared", "cli", "sdk", "services/*")
        for path in ROOT.glob(f"{folder}/trunkline")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    build = project["tool"]["hatch"]["build"]
    assert set(build["dev-mode-dirs"]) == there
    assert set(build["targets"]["wheel"]["packages"]) == {f"{room}/trunkline" for room in there}


def test_each_package_says_in_one_sentence_what_it_is_for_and_holds_nothing_else() -> None:
    packages = [path for room in ROOMS for path in (ROOT / room).rglob("__init__.py")]
    assert packages
    for path in packages:
        text = path.read_text().strip()
        assert re.fullmatch(r'""".+\."""', text, re.DOTALL), f"{path}: {text!r}"


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_locks_hold_versions_and_hashes_and_no_address(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert "index" not in text
    wanted = re.findall(r"^([a-z0-9][^ =]*)==(\S+)((?: ;[^\\\n]*)?) \\$", text, re.MULTILINE)
    assert len(wanted) == len(re.findall(r"^[a-z0-9]", text, re.MULTILINE))
    for block in re.split(r"\n(?=[a-z0-9])", text.strip()):
        assert "--hash=sha256:" in block


def test_there_is_a_lock_for_each_way_to_install() -> None:
    assert {path.name for path in LOCKS} >= {"local.txt", "dev.txt", "build.txt"}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_example_is_a_valid_spec(path: Path) -> None:
    parsed = spec_parsing.parse(path.read_bytes())
    for leaf in spec.inputs(parsed.input):
        globs.compile(leaf.glob)


def test_there_are_examples() -> None:
    assert {path.name for path in SPECS} >= {"words.json", "totals.yaml"}


def test_the_page_of_subjects_is_that_of_the_code() -> None:
    assert subjects_table.PAGE.read_text() == subjects_table.rendered()


def test_docs_list_the_metrics_that_the_code_has() -> None:
    assert metrics_table.PAGE.read_text() == metrics_table.rendered()


def test_docs_list_the_settings_that_the_services_have() -> None:
    assert settings_table.PAGE.read_text() == settings_table.rendered()


def test_each_page_of_docs_is_named_by_their_index() -> None:
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([a-z.-]+)\)", (docs / "README.md").read_text()))
    assert {path.name for path in docs.glob("*.md")} - {"README.md"} <= linked


def test_links_between_our_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("services/*/*.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} -> {target}"


def test_the_readme_names_every_room() -> None:
    readme = (ROOT / "README.md").read_text()
    packages = {
        f"trunkline.{path.parent.name}"
        for room in ROOMS
        for path in (ROOT / room / "trunkline").glob("*/__init__.py")
    }
    assert not [name for name in sorted(packages) if f"`{name}`" not in readme]


def test_decisions_are_numbered_one_by_one() -> None:
    found = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [path.name[:5] for path in found] == [f"{n:04}-" for n in range(1, len(found) + 1)]
    for number, path in enumerate(found, 1):
        assert path.read_text().startswith(f"# {number}. "), path.name
