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
