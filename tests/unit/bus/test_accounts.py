"""The server's configuration, and who may do what, as pure data."""

import pytest
from tests.support.wards import WARDS

from trunkline.bus import accounts, permissions
from trunkline.contracts import errors, subjects

SETTINGS = accounts.ServerSettings(port=4222, store_dir="/x", pid_file="/y")


def test_a_user_that_is_no_role_is_refused() -> None:
    with pytest.raises(errors.InvalidNameError):
        accounts.render_config(SETTINGS, {"admin": "secret"}, WARDS)
    with pytest.raises(errors.InvalidNameError):
        accounts.render_config(SETTINGS, {"worker": "secret"}, WARDS)


@pytest.mark.parametrize("name", ["", "*", ">", "a.b", 'x"}', "a b", "-a", "a\n"])
def test_a_pipeline_that_is_no_token_never_reaches_a_configuration(name: str) -> None:
    with pytest.raises(errors.InvalidNameError):
        accounts.worker_user(name)
    with pytest.raises(errors.InvalidNameError):
        accounts.render_config(SETTINGS, {f"worker.{name}": "secret"}, WARDS)


def test_the_server_listens_on_loopback_only() -> None:
    assert 'listen: "127.0.0.1:4222"' in accounts.render_config(SETTINGS, {"user": "s"}, WARDS)


def test_a_workers_user_names_its_pipeline() -> None:
    assert accounts.pipeline_of(accounts.worker_user("words")) == "words"
    assert accounts.pipeline_of("scaler-data") is None


def test_nobody_but_users_hears_other_peoples_inboxes() -> None:
    roles: list[permissions.Role] = [
        "coordinator",
        "coordinator-data",
        "scaler",
        "scaler-data",
        "auditor",
        "auditor-data",
        "worker",
    ]
    for role in roles:
        allowed = permissions.of(role, WARDS, "p1").subscribe
        assert not any(subject.startswith(("_INBOX", ">", "*")) for subject in allowed)
        assert "_I.>" not in allowed


def test_all_that_a_worker_may_do_names_its_pipeline_as_a_whole_token() -> None:
    allowed = permissions.of("worker", WARDS, "p1")
    for subject in (*allowed.publish, *allowed.subscribe):
        tokens = subject.split(".")
        named = [t for t in tokens if t in ("p1", subjects.datums_stream("p1"))]
        assert named, subject
        before = tokens[: tokens.index(named[0])]
        assert not {"*", ">"} & set(before), subject


def test_the_reapers_ack_is_what_it_may_publish() -> None:
    subject = subjects.ack("p1", "0" * 32, 7).split(".")
    (allowed,) = [
        s for s in permissions.of("scaler-data", WARDS).publish if s.startswith("$JS.ACK")
    ]
    assert len(subject) == len(allowed.split("."))
    assert all(may in ("*", has) for may, has in zip(allowed.split("."), subject, strict=True))


def test_a_worker_is_one_of_a_pipeline() -> None:
    with pytest.raises(ValueError, match="pipeline"):
        permissions.of("worker", WARDS)
