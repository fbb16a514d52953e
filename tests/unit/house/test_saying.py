"""What others have written reaches a terminal by one module, which takes what would command it."""

from pathlib import Path

CLI = Path(__file__).parents[3] / "cli/trunkline/cli"
OWN_RULES = {
    "saying.py": "it is the one",
    "demo.py": "its own story",
    "files.py": "contents of files",
    "board_view.py": "cells that are made harmless one by one",
    "bars.py": "lines above what is drawn in place, made harmless",
    "render.py": "a table whose cells are harmless",
    "verbs/installations.py": "our version, and our scripts",
}
PRINTING = ("click.echo(", " print(", ".print(", "sys.stdout.buffer", "sys.stdout.write")


def test_text_goes_to_the_terminal_by_one_module() -> None:
    printing = {
        str(path.relative_to(CLI))
        for path in CLI.rglob("*.py")
        if any(each in path.read_text() for each in PRINTING)
    }
    assert printing == set(OWN_RULES)
