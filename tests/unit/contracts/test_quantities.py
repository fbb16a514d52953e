import pytest

from trunkline.contracts import quantities


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300s", 300),
        ("5m", 300),
        ("1h30m", 5400),
        ("0.5s", 0.5),
        (".5s", 0.5),
        ("250ms", 0.25),
        ("2.s", 2),
    ],
)
def test_a_duration_is_taken(text, seconds):
    assert quantities.duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "0s", "5 m", "1e3s", "5M", "\u0663s", "9" * 400 + "s"]
)
def test_what_is_no_duration_is_none(text):
    assert quantities.duration_s(text) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000", 1000),
        ("1.5k", 1500),
        ("64M", 64_000_000),
        ("64MB", 64_000_000),
        ("64Mi", 64 * 2**20),
        ("1GiB", 2**30),
        ("1e3", 1000),
        ("0.0000001", 1),
    ],
)
def test_a_size_is_taken(text, size):
    assert quantities.size_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1m", "1QB", "1 M", "0x10", "1e999999", "NaN", "\u0663"]
)
def test_what_is_no_size_is_none(text):
    assert quantities.size_bytes(text) is None


def test_cores_may_be_thousandths():
    assert [quantities.cores(text) for text in ("2", "0.5", "500m", "x")] == [2, 0.5, 0.5, None]
