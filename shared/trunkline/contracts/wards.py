"""Wards: the part of a subject in DATA that makes it impossible to name for who must not.

The server checks the subject that a client publishes to, but not the *reply* subject that it hands
over; JetStream answers there with its own authority. So inside one account a worker can have the
server write to whatever subject it can spell: bytes of its own choice by a direct get, an empty
message by any pull. Left open, that is another pipeline's assignment (code that is run), a made-up
disconnect of its workers (the reaper acts on it), and JetStream's API itself: a pull whose status
goes to `$JS.API.STREAM.DELETE.TL_OUTCOMES` deletes the truth. Permissions cannot forbid any of it.
But a reply subject cannot hold a wildcard; so what must not be reached has a name that cannot be
guessed, 96 bits of it:

- each subject of a pipeline holds that pipeline's *ward*, as a token of its own right after the
  name; only its own workers and the services know it;
- JetStream's API, and the server's word on connections, are imported into DATA under a *hidden*
  token, which only the services know; the API's usual subject leads nowhere there (see `accounts`).

All are a pure function of the installation's data key. Nothing is stored and nothing can be lost:
any service that starts, after whatever crash, makes the same ones. Another data key makes others;
what was stored under the old wards is then taken for forged, and datums of jobs that were under way
are done again.

Who reads with a wildcard sees what was stored under no pipeline's ward, too, and must ask `owns`.
"""

import base64
import hashlib
import hmac
import re

import msgspec

from trunkline.contracts import errors, names

KEY_MIN_LENGTH = 32
"""Characters of a data key. It is the only secret behind all wards, so it must not be guessable."""

_BYTES = 12
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16}")
_KEPT = 4096


class WeakDataKeyError(errors.TrunklineError):
    """The data key is too short; it is not shown."""

    def __init__(self) -> None:
        super().__init__(
            f"the data key must have at least {KEY_MIN_LENGTH} characters: put the output of"
            " `openssl rand -base64 32` into TRUNKLINE_DATA_KEY, the same for all services"
        )


class Ward(msgspec.Struct, frozen=True):
    """A pipeline and its ward: what a subject of the pipeline begins with.

    Raises:
        InvalidNameError: one of them cannot be a token.
    """

    pipeline: str
    token: str

    def __post_init__(self) -> None:
        names.pipeline(self.pipeline)
        if not _TOKEN.fullmatch(self.token):
            # without the token: a wrong one may be a right one with a blank too many
            raise errors.InvalidNameError("ward of", self.pipeline, "a ward is 16 of A-Za-z0-9_-")

    def __str__(self) -> str:
        """Return both as the two tokens that they are."""
        return f"{self.pipeline}.{self.token}"


class Wards:
    """All wards of an installation.

    Raises:
        WeakDataKeyError: the data key is too short.
    """

    def __init__(self, data_key: str) -> None:
        if len(data_key) < KEY_MIN_LENGTH:
            raise WeakDataKeyError
        self._key = data_key.encode()
        self._made: dict[str, Ward] = {}

    def of(self, pipeline: str) -> Ward:
        """Return a pipeline's ward, or raise InvalidNameError."""
        ward = self._made.get(pipeline)
        if ward is None:
            if len(self._made) >= _KEPT:
                self._made.clear()  # names may come from messages: nobody fills our memory
            ward = self._made[pipeline] = Ward(
                pipeline, self._token("pipeline", names.pipeline(pipeline))
            )
        return ward

    @property
    def hidden(self) -> str:
        """The token below which lies what only the services may reach."""
        return self._token("hidden", "")

    def owns(self, subject: str) -> bool:
        """Return whether a subject of DATA stands under the ward of the pipeline that it names."""
        tokens = subject.split(".", 4)
        if len(tokens) < 4:
            return False
        try:
            return self.of(tokens[2]).token == tokens[3]
        except errors.InvalidNameError:
            return False

    def _token(self, kind: str, name: str) -> str:
        digest = hmac.digest(self._key, f"{kind}/{name}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest[:_BYTES]).decode()
