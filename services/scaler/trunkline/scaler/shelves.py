"""A shelf for what `bus.bootstrap` makes: a directory of this machine's, or a mounted one."""

from pathlib import Path

from trunkline.runtime.private import write_private


class Directory:
    """See `bootstrap.Shelf`. Its files are 0600, and replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def read(self, name: str) -> str | None:
        """Return a file's text, or None."""
        try:
            return (self.path / name).read_text()
        except FileNotFoundError:
            return None

    def write(self, name: str, text: str) -> None:
        """Put a file there; the directory is made if it is missing."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.path / name, text.encode())
