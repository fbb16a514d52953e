"""What a machine refuses to tests."""

import os
from typing import NoReturn

import pytest


def namespaces(why: str = "") -> NoReturn:
    """Pass a test over that needs namespaces; fail it in CI, where it must not be passed over unseen."""
    told = f"namespaces are refused here: {why}" if why else "namespaces are refused here"
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)
