"""Which store an installation on one machine has: its own directory, or the one it was first given.

    asked for (`--store`, TRUNKLINE_STORE) -> what it came up with before -> `store/` in its directory

Records in NATS name objects in the store, so an installation that came up with another one would find
none of them. The choice is written down once the installation is up: a name that was only mistyped
binds to nothing. A crash before that: the same is asked again, or chosen again.
"""

from trunkline.contracts import errors
from trunkline.local.home import Home
from trunkline.runtime.private import write_private
from trunkline.storage import urls


class AnotherStoreError(errors.TrunklineError):
    """An installation is to be started with a store that is not the one of its records."""

    def __init__(self, asked: str, kept: str, home: Home) -> None:
        super().__init__(
            f"the installation in {str(home.root)!r} has its objects in {urls.shown(kept)}, not in {urls.shown(asked)}: leave"
            f" --store and TRUNKLINE_STORE away; to move it, stop it, copy all objects, and write the"
            f" new URL into {str(home.chosen_store)!r}"
        )
        self.asked, self.kept = asked, kept


def choose(home: Home, asked: str | None) -> str:
    """Return the URL of the store to start with, or raise AnotherStoreError."""
    kept = _kept(home)
    if asked and kept and asked.rstrip("/") != kept.rstrip("/"):
        raise AnotherStoreError(asked, kept, home)
    return asked or kept or home.store_url


def keep(home: Home, url: str) -> None:
    """Write down what the installation came up with; its own directory may be moved with it."""
    if url != home.store_url:
        write_private(home.chosen_store, f"{url}\n".encode())


def _kept(home: Home) -> str:
    try:
        return home.chosen_store.read_text().strip()
    except FileNotFoundError:
        return home.store_url if (home.store / "objects").exists() else ""
