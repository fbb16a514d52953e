"""Keys and signed claims as a NATS server in operator mode reads them.

An *operator* signs accounts, an account (or a *signing key* that its claims name) signs users. Each is
an ed25519 key: its public half is its name, its seed is the secret. Claims are JSON, signed as a JWT;
a client that logs in shows its user's claims and signs what the server asks, so a server knows nobody
by a password, and nothing has to be told to it when a user comes.

Pure, but for the randomness of a new key. What the claims of ours say stands in `operator`.
"""

import base64
import hashlib
import secrets
from typing import Any, Literal

import msgspec

from trunkline.contracts import errors

Kind = Literal["operator", "account", "user"]

_PREFIX: dict[Kind, int] = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
_HEADER = b'{"typ":"JWT","alg":"ed25519-nkey"}'
_BEGIN_JWT, _END_JWT = "-----BEGIN NATS USER JWT-----", "------END NATS USER JWT------"
_BEGIN_SEED, _END_SEED = "-----BEGIN USER NKEY SEED-----", "------END USER NKEY SEED------"


class InvalidKeyError(errors.TrunklineError):
    """A text is no seed, no claims or no credentials; it is not shown, since it may be a secret."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} cannot be used: {reason}")
        self.what, self.reason = what, reason


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody signs about a key."""

    sub: str
    """The key that it is about."""
    name: str
    iss: str = ""
    """The key that signed it."""
    iat: int = 0
    """Seconds since the epoch, when it was signed: what was signed before a revocation is revoked."""
    exp: int = 0
    """Seconds since the epoch after which it does not count any more; 0: never."""
    jti: str = ""
    nats: dict[str, Any]
    """What it says, by the kind of key."""


class Key:
    """A key pair.

    Args:
        seed: As `Key.seed` gives it.

    Raises:
        InvalidKeyError: it is no seed.
    """

    def __init__(self, seed: str) -> None:
        import nkeys  # noqa: PLC0415 - 20 ms and a C library, for who has keys

        self.seed = seed.strip()
        """The secret."""
        try:
            prefix, raw = nkeys.decode_seed(bytearray(self.seed.encode()))
            if nkeys.encode_seed(raw, prefix).decode() != self.seed:
                raise ValueError("a letter is wrong")  # noqa: TRY301 - nkeys does not look
            self._pair = nkeys.from_seed(bytearray(self.seed.encode()))
            self.public: str = self._pair.public_key.decode()
            """The name of the key; its first letter is the kind: O, A or U."""
        except (nkeys.NkeysError, ValueError, TypeError, IndexError) as error:
            raise InvalidKeyError("a seed", "it is none of NATS'") from error

    def sign(self, data: bytes) -> bytes:
        """Return the signature of the data."""
        return bytes(self._pair.sign(data))

    def __repr__(self) -> str:
        return f"Key({self.public})"


def new_key(kind: Kind) -> Key:
    """Return a key that nobody has."""
    return key_of(kind, secrets.token_bytes(32))


def key_of(kind: Kind, entropy: bytes) -> Key:
    """Return the key that 32 secret bytes make: the same of the same bytes."""
    import nkeys  # noqa: PLC0415

    return Key(nkeys.encode_seed(entropy, _PREFIX[kind]).decode())


def signed(claims: Claims, issuer: Key) -> str:
    """Return the claims as a JWT of the issuer's."""
    unsigned = msgspec.structs.replace(claims, iss=issuer.public, jti="")
    digest = hashlib.new("sha512_256", msgspec.json.encode(unsigned)).digest()
    jti = base64.b32encode(digest).rstrip(b"=").decode()
    whole: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(unsigned, jti=jti))
    if not claims.exp:
        del whole["exp"]
    body = f"{_b64(_HEADER)}.{_b64(msgspec.json.encode(whole))}"
    return f"{body}.{_b64(issuer.sign(body.encode()))}"


def read(token: str) -> Claims:
    """Return what a JWT says, unchecked: what comes from a server was checked by it.

    Raises:
        InvalidKeyError: it is no JWT.
    """
    try:
        body = token.split(".")[1]
        return msgspec.json.decode(
            base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Claims
        )
    except (IndexError, ValueError, msgspec.MsgspecError) as error:
        raise InvalidKeyError("a JWT", "it holds no claims") from error


class Creds(msgspec.Struct, frozen=True, kw_only=True):
    """What a user logs in with."""

    jwt: str
    seed: str

    def text(self) -> str:
        """Return it as a file of credentials, which every NATS client reads."""
        return f"{_BEGIN_JWT}\n{self.jwt}\n{_END_JWT}\n\n{_BEGIN_SEED}\n{self.seed}\n{_END_SEED}\n"

    @property
    def expires_at(self) -> int:
        """Seconds since the epoch after which the server ends its connections; 0: never."""
        return read(self.jwt).exp


def read_creds(text: str) -> Creds:
    """Return what a file of credentials holds, or raise InvalidKeyError."""
    return Creds(jwt=_between(text, _BEGIN_JWT), seed=_between(text, _BEGIN_SEED))


def _between(text: str, begin: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    try:
        return lines[lines.index(begin) + 1]
    except (ValueError, IndexError):
        raise InvalidKeyError("a file of credentials", f"{begin!r} is missing") from None


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
