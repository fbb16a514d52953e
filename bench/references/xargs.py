"""`xargs -P2 sh -c 'cat in > out'` over files of 1 KB."""

import subprocess
import tempfile
from pathlib import Path

from bench import timing


def main() -> None:
    """Measure."""
    asked = timing.arguments()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "in").mkdir()
        (root / "out").mkdir()
        for number in range(asked.count):
            (root / "in" / f"{number:07}").write_bytes(f"{number:07}".encode() * 146)
        names = "\n".join(f"{number:07}" for number in range(asked.count)).encode()
        command = ["xargs", "-P2", "-n1", "sh", "-c", '/bin/cat "in/$0" > "out/$0"']
        with timing.measured(asked.count):
            subprocess.run(command, input=names, cwd=root, check=True)
        assert len(list((root / "out").iterdir())) == asked.count


if __name__ == "__main__":
    main()
