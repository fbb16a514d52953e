"""How a connection's URL is read."""

from pathlib import Path

import pytest

from trunkline.bus import logins


def test_several_servers_know_us_by_the_same_password() -> None:
    login = logins.Login("nats://u%40x:p@h1:1,nats://u%40x:p@h2:2")
    assert login.servers == ("nats://h1:1", "nats://h2:2")
    assert login.places == (("h1", 1), ("h2", 2))
    assert login.answer("") == {"user": "u@x", "pass": "p"}


def test_one_file_is_read_for_all_servers() -> None:
    url = logins.url_of("nats://h1:1,nats://h2", Path("/a,b c/x.creds"))
    login = logins.Login(url)
    assert login.servers == ("nats://h1:1", "nats://h2")
    assert login.places == (("h1", 1), ("h2", 4222))
    assert login.file == Path("/a,b c/x.creds")


@pytest.mark.parametrize("url", ["", "h1:1", "nats://h1:1,", "nats://h1:1,h2:2", "nats://"])
def test_what_names_no_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no NATS url"):
        logins.Login(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nats://u:p4ss@h1:1", "nats://u:***@h1:1"),
        ("nats://u:p4ss@h1:1,nats://u:p4ss@h2:2", "nats://u:***@h1:1,nats://u:***@h2:2"),
        ("nats://p4ss@h1:1", "nats://***@h1:1"),
        ("nats://h1:1?creds=%2Fa%2Fx.creds", "nats://h1:1?creds=%2Fa%2Fx.creds"),
        ("nats://h1:1?creds=x&token=p4ss", "nats://h1:1"),
        ("nats://u:p4ss#x@h1:1", "nats://u:***@h1:1"),
        ("nats://u:p4ss/x@h1:1", "nats://u:***@h1:1"),
        ("nats://u:p4ss,p4ss@h1:1", "nats://***,***@h1:1"),
        ("nats://[::1]:4222", "nats://[::1]:4222"),
        ("u:p4ss@h1:1", "u:***@h1:1"),
    ],
)
def test_a_url_is_told_without_its_password_also_if_it_is_none(url: str, told: str) -> None:
    assert logins.shown(url) == told


@pytest.mark.parametrize("url", ["nats://u:p4ss#x@h1:1", "nats://u:p4ss,@h", "nats://[p4ss"])
def test_what_is_no_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(logins.InvalidUrlError) as refused:
        logins.Login(url)
    assert "p4ss" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
