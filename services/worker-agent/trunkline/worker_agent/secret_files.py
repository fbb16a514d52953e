"""Hands the secrets of an installation on one machine over to commands.

A value goes into the environment of the commands of a job, which only the kernel and they know, or is seen
as a file in the commands' own mount namespace: the secret's directory is bound there, so a value that
is replaced shows at once, and nobody can write there. Values pass no message, log or record.

A directory that was removed stays bound, empty: so each datum asks again, which directory is bound is
known by its identity, and one that came in its place is bound over it.

Where pods hand secrets over, there is nothing left to do (`HandedOver`).
"""

import os
from collections.abc import Sequence

from trunkline.contracts import errors
from trunkline.contracts.spec import Secret
from trunkline.storage.secrets import Secrets
from trunkline.worker_agent.link import Link

VARIABLE_MAX_BYTES = 100_000
"""Linux takes 131,072 bytes of a variable, its name and the end included."""


class SecretError(errors.TrunklineError):
    """A secret cannot be handed over."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"secret {name!r} {reason}")
        self.name, self.reason = name, reason


class HandedOver:
    """See `job_commands.Secrets`: for a pod, whose containers have them from the beginning."""

    async def hand_over(self, _wanted: Sequence[Secret]) -> dict[str, str]:
        """Do nothing."""
        return {}


class SecretFiles:
    """See `job_commands.Secrets`.

    Args:
        secrets: Where they lie.
        link: To the shim, which shows them.
        mounted: Whether the shim is in a mount namespace of its own.
    """

    def __init__(self, secrets: Secrets, link: Link, *, mounted: bool) -> None:
        self._secrets, self._link, self._mounted = secrets, link, mounted
        self._shown: dict[Secret, tuple[int, int]] = {}
        """Which directory (device, inode) is seen at the secret's place."""

    async def hand_over(self, wanted: Sequence[Secret]) -> dict[str, str]:
        """Show the files of secrets; return the variables."""
        variables: dict[str, str] = {}
        for each in wanted:
            if each.env_var:
                variables[each.env_var] = self._value(each)
            else:
                await self._show(each)
        return variables

    def _value(self, secret: Secret) -> str:
        try:
            data = self._secrets.value(secret.name, secret.key)
        except FileNotFoundError:
            literal = f"--from-literal {secret.key}=..."
            raise SecretError(
                secret.name, f"has no key {secret.key!r}: {_remedy(secret, literal)}"
            ) from None
        except OSError as error:
            raise SecretError(secret.name, f"cannot be read: {error.strerror}") from error
        if b"\0" in data or len(data) > VARIABLE_MAX_BYTES:
            what = f"has a value of {secret.key!r} that no variable can hold"
            why = f"it has a NUL, or more than {VARIABLE_MAX_BYTES} bytes; use `mount_path`"
            raise SecretError(secret.name, f"{what}: {why}")
        return os.fsdecode(data)

    async def _show(self, secret: Secret) -> None:
        directory = self._secrets.place(secret.name)
        where = f"cannot be shown at {secret.mount_path}"
        try:
            status = directory.stat()
        except FileNotFoundError:
            raise SecretError(
                secret.name, f"does not exist: {_remedy(secret, '-f FILE')}"
            ) from None
        except OSError as error:
            raise SecretError(secret.name, f"cannot be read: {error.strerror}") from error
        identity = status.st_dev, status.st_ino
        if self._shown.get(secret) == identity:
            return
        if not self._mounted:
            reason = f"{where}: this machine refuses mount namespaces; use `env_var` instead"
            raise SecretError(secret.name, reason)
        try:
            await self._link.mount(str(directory), secret.mount_path)
        except FileNotFoundError as error:
            reason = (
                "it does not exist, and nothing is made on this machine for it; make that directory"
            )
            raise SecretError(secret.name, f"{where}: {reason}") from error
        except OSError as error:
            raise SecretError(secret.name, f"{where}: {error.strerror}") from error
        self._shown[secret] = identity


def _remedy(secret: Secret, source: str) -> str:
    return f"create it by `trunkline create secret {secret.name} {source}`"
