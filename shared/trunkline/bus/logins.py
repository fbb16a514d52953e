"""How a connection says who it is: a password in its URL, or a file of credentials that its URL names.

    nats://user:password@host:port      users of a configuration
    nats://host:port?creds=/path        signed claims and a seed, in a file

Several servers of one cluster stand one after the other, with commas between them, as other clients of
NATS take them too: `nats://user:password@host:1,nats://user:password@host:2`. Who we are is the same at
each; what stands before a file's name belongs to all of them.

The file is read whenever a connection is made, so that it may be renewed while the process runs (a
mounted Secret is: its path leads somewhere else from one instant to the next). Claims and signature of
one login come of one reading.
"""

import base64
import re
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit

from trunkline.bus import jwts
from trunkline.contracts import errors

PORT = 4222
EXPIRING = 5 / 6
"""The part of its life after which a credential should have been renewed: it is due at two thirds."""


_PLACE = re.compile(r"([\w.-]*|\[[\da-fA-F:.]*\])(:\d*)?/?")
_FILE = re.compile(r"(creds=[^&]*)?")


class InvalidUrlError(errors.TrunklineError, ValueError):
    """A URL names no server of NATS."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{shown(url)!r} is no NATS url; try nats://host:4222")


class Login:
    """Who a connection is.

    Args:
        url: In one of the two forms.

    Raises:
        InvalidUrlError: it is no URL of NATS.
    """

    def __init__(self, url: str) -> None:
        servers, _, query = url.partition("?")
        try:
            parts = [urlsplit(each) for each in servers.split(",")]
            self.places = tuple((each.hostname or "", each.port or PORT) for each in parts)
            """Host and port of each."""
        except ValueError:  # whose text may hold what was taken for a port, part of a password
            raise InvalidUrlError(url) from None
        if not all(host for host, _ in self.places):
            raise InvalidUrlError(url)
        self.servers = tuple(f"{each.scheme}://{_place(each)}" for each in parts)
        """Their URLs, without who we are."""
        self.user = unquote(parts[0].username or "")
        self.password = unquote(parts[0].password or "")
        named = parse_qs(query).get("creds", [""])[0]
        self.file = Path(named) if named else None
        self._used: jwts.Creds | None = None

    def sign(self, nonce: str) -> bytes:
        """Read the file and sign what the server asks; nats-py calls this before `jwt`."""
        self._used = self._read()
        return base64.b64encode(jwts.Key(self._used.seed).sign(nonce.encode()))

    def jwt(self) -> bytes:
        """Return the claims of the reading that was signed with."""
        return (self._used or self._read()).jwt.encode()

    def answer(self, nonce: str) -> dict[str, Any]:
        """Return what a handshake says of who we are."""
        if self.file is None:
            return {"user": self.user, "pass": self.password}
        return {"sig": self.sign(nonce).decode(), "jwt": self.jwt().decode()}

    @property
    def renewed(self) -> bool:
        """Whether the file holds other credentials than the connection was made with."""
        if self.file is None or self._used is None:
            return False
        try:
            return self._read() != self._used
        except errors.TrunklineError:
            return False  # it is between two states, or gone: what is connected stays so

    def problems(self, now: float) -> list[str]:
        """Return what is wrong with the credentials in use, at a time of the wall clock."""
        if self._used is None:
            return []
        claims = jwts.read(self._used.jwt)
        if not claims.exp or now < claims.iat + EXPIRING * (claims.exp - claims.iat):
            return []
        return [f"the credentials in {str(self.file)!r} expire and were not renewed"]

    def _read(self) -> jwts.Creds:
        """Return what the file holds, or raise UnavailableError: it may come yet."""
        assert self.file is not None
        try:
            return jwts.read_creds(self.file.read_text())
        except (OSError, jwts.InvalidKeyError) as error:
            raise errors.UnavailableError(str(self.file), str(error)) from error


def url_of(server: str, file: Path) -> str:
    """Return the URL of the same servers that names a file of credentials."""
    servers = (urlsplit(each) for each in server.partition("?")[0].split(","))
    bare = ",".join(f"{each.scheme}://{_place(each)}" for each in servers)
    return f"{bare}?{urlencode({'creds': str(file)})}"


def _place(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def shown(url: str) -> str:
    """Return a URL as it may be told, whatever is wrong with it: who somebody is, and not by what he proves it."""
    servers, mark, query = url.partition("?")
    told = ",".join(map(_without_password, servers.split(",")))
    return f"{told}{mark}{query}" if _FILE.fullmatch(query) else told


def _without_password(server: str) -> str:
    scheme, mark, rest = server.rpartition("://")
    who, at, place = rest.rpartition("@")
    if not at and not _PLACE.fullmatch(
        rest
    ):  # what holds a comma, say, is cut in the midst of a password
        return f"{scheme}{mark}***"
    user, colon, _ = who.partition(":")  # without a password it is a token, and as secret
    return f"{scheme}{mark}{f'{user}:***@' if colon else '***@' if at else ''}{place}"
