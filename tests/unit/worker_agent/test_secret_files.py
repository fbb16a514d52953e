"""Values of secrets that become variables of commands."""

from pathlib import Path

import pytest

from trunkline.contracts.spec import Secret
from trunkline.storage.secrets import Secrets
from trunkline.worker_agent.secret_files import VARIABLE_MAX_BYTES, SecretError, SecretFiles

WANTED = (Secret(name="db", key="password", env_var="PASSWORD"),)


def files(folder: Path, value: bytes) -> SecretFiles:
    secrets = Secrets(folder)
    secrets.create("db", {"password": value})
    return SecretFiles(secrets, None, mounted=False)  # type: ignore[arg-type] # variables need none


async def test_a_value_becomes_a_variable_byte_for_byte(tmp_path: Path) -> None:
    value = b"\xff" + b"x" * (VARIABLE_MAX_BYTES - 1)
    variables = await files(tmp_path, value).hand_over(WANTED)
    assert variables["PASSWORD"].encode("utf-8", "surrogateescape") == value


@pytest.mark.parametrize("value", [b"a\0b", b"x" * (VARIABLE_MAX_BYTES + 1)])
async def test_a_value_that_no_variable_can_hold_is_refused_without_being_told(
    tmp_path: Path, value: bytes
) -> None:
    with pytest.raises(SecretError, match="use `mount_path`") as refused:
        await files(tmp_path, value).hand_over(WANTED)
    assert value.decode() not in str(refused.value)
