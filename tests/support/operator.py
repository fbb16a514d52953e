"""A real nats-server in operator mode, with the same accounts, roles and methods as `TestServer`."""

import time
from pathlib import Path

from tests.support.nats import TestServer
from tests.support.wards import DATA_KEY, ward

from trunkline.bus import accounts, bootstrap, jwts, logins, operator
from trunkline.bus.jwts import Creds, Key
from trunkline.runtime.private import write_private
from trunkline.scaler.shelves import Directory

LIFE_S = 3600


class FileIssuer:
    """Mints workers' credentials into files, as a Secret that is mounted holds them."""

    def __init__(self, directory: Path, server: str) -> None:
        self.directory, self._server = directory, server
        shelf = Directory(directory)
        self.workers = Key(shelf.read(bootstrap.seed_of(bootstrap.WORKERS)) or "")
        self.data = jwts.read(shelf.read(bootstrap.claims_of("DATA")) or "").sub

    async def worker_url(self, pipeline: str, *, life_s: int = LIFE_S) -> str:
        """Return the URL of a file of credentials for a pipeline's workers."""
        return self.url(f"{pipeline}.worker", self.minted(pipeline, life_s=life_s))

    def minted(self, pipeline: str, *, life_s: int = LIFE_S) -> Creds:
        user, now = jwts.new_key("user"), time.time_ns() // 10**9
        claims = operator.worker_claims(
            user.public, ward(pipeline), data=self.data, issued_at=now, expires_at=now + life_s
        )
        return Creds(jwt=jwts.signed(claims, self.workers), seed=user.seed)

    def url(self, name: str, creds: Creds) -> str:
        path = self.directory / name
        write_private(path, creds.text().encode())
        return logins.url_of(self._server, path)


class OperatorServer(TestServer):
    """`TestServer` without a password."""

    __test__ = False
    issuer: FileIssuer  # type: ignore[assignment]

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.shelf = Directory(directory / "operator")
        self.shelf.write(bootstrap.DATA_KEY, DATA_KEY)
        self.bootstrap()
        self.issuer = FileIssuer(self.shelf.path, self._address)

    def bootstrap(self, rotate: str = "") -> list[str]:
        """Make what is missing, and the server's configuration of it."""
        settings = bootstrap.Settings(resolver_dir=str(self.directory / "resolver"))
        written = bootstrap.run(
            self.shelf,
            settings,
            now=time.time_ns() // 10**9,
            new_secret=lambda: DATA_KEY,
            rotate=rotate,
        )
        files = self.files
        lines = accounts.server_lines(
            accounts.ServerSettings(
                port=self.credentials.port, store_dir=str(files.store), pid_file=str(files.pid)
            )
        )
        block = self.shelf.read(bootstrap.RESOLVER)
        assert block is not None
        files.config.write_text("\n".join([*lines, block]))
        return written

    def url(self, user: str) -> str:
        return logins.url_of(self._address, self.shelf.path / bootstrap.creds_of(user))

    @property
    def _address(self) -> str:
        return f"nats://127.0.0.1:{self.credentials.port}"
