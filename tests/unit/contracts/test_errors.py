"""What is said of errors that say nothing themselves."""

import pytest

from trunkline.contracts import errors


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "connection reset"),
        (EOFError(" "), "eof"),
        (OSError(111, "Connection refused"), "[Errno 111] Connection refused"),
    ],
)
def test_an_error_without_a_text_is_told_by_its_name(error: Exception, said: str) -> None:
    assert errors.said(error) == said
