"""What is said of workers in operator mode, as pure data: the template, tags, keys and files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.wards import WARDS

from trunkline.bus import jwts, logins, operator, permissions
from trunkline.bus.jwts import Creds
from trunkline.contracts import errors
from trunkline.contracts.wards import Ward

PIPELINES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,50}", fullmatch=True)


def expanded(subjects: tuple[str, ...], tags: list[str]) -> tuple[str, ...]:
    """Return subjects as a server makes them of a template."""
    found = list(subjects)
    for tag in tags:
        name, _, value = tag.partition(":")
        found = [each.replace(f"{{{{tag({name})}}}}", value) for each in found]
    return tuple(found)


@given(PIPELINES)
def test_the_template_gives_a_worker_what_the_list_for_its_pipeline_does(pipeline: str) -> None:
    claims = operator.worker_claims("U", WARDS.of(pipeline), data="A", issued_at=1, expires_at=2)
    tags, template = claims.nats["tags"], permissions.template()
    allowed = permissions.of("worker", WARDS, pipeline)
    assert expanded(template.publish, tags) == allowed.publish
    assert expanded(template.subscribe, tags) == allowed.subscribe
    assert operator.pipeline_of(tags) == pipeline
    assert (claims.nats["pub"], claims.nats["sub"]) == ({}, {})


@pytest.mark.parametrize("name", ["", "*", ">", "p.>", "a b", "{{tag(w)}}", "a:b", "a\n", "-a"])
def test_a_name_that_is_no_token_becomes_no_tag(name: str) -> None:
    with pytest.raises(errors.InvalidNameError):
        WARDS.of(name)
    with pytest.raises(errors.InvalidNameError):
        Ward(name, WARDS.of("p1").token)
    with pytest.raises(errors.InvalidNameError):
        Ward("p1", name)
    assert operator.pipeline_of([f"p:{name}"]) is None


def test_tags_that_do_not_say_one_pipeline_say_none() -> None:
    assert operator.pipeline_of(["w:x"]) is None
    assert operator.pipeline_of(["p:p1", "p:p2"]) is None
    assert operator.pipeline_of(["w:x", "p:p1"]) == "p1"


def test_a_file_of_credentials_is_read_as_it_was_written(tmp_path: Path) -> None:
    user = jwts.new_key("user")
    claims = jwts.Claims(sub=user.public, name="x", iat=100, exp=400, nats={})
    creds = Creds(jwt=jwts.signed(claims, jwts.new_key("account")), seed=user.seed)
    assert jwts.read_creds(creds.text()) == creds
    path = tmp_path / "a b&c.creds"
    path.write_text(creds.text())
    login = logins.Login(logins.url_of("nats://u:p@host:1", path))
    assert (login.places, login.servers) == ((("host", 1),), ("nats://host:1",))
    said = login.answer("nonce")
    assert said["jwt"] == creds.jwt
    assert login.problems(349) == []
    assert "were not renewed" in login.problems(350)[0]
    assert not login.renewed
    path.write_text("")  # half a file is no new one
    assert not login.renewed
    path.write_text(Creds(jwt=creds.jwt + "x", seed=user.seed).text())
    assert login.renewed


def test_a_credential_that_never_expires_is_never_late(tmp_path: Path) -> None:
    user = jwts.new_key("user")
    claims = jwts.Claims(sub=user.public, name="x", iat=100, nats={})
    path = tmp_path / "x"
    path.write_text(Creds(jwt=jwts.signed(claims, user), seed=user.seed).text())
    login = logins.Login(logins.url_of("nats://host", path))
    login.sign("nonce")
    assert login.problems(10**12) == []


def test_what_is_no_secret_of_ours_is_not_shown_in_an_error(tmp_path: Path) -> None:
    for wrong in ("SUAXXX", "", "hunter2", "SUA" + "A" * 55):
        with pytest.raises(jwts.InvalidKeyError) as caught:
            jwts.Key(wrong)
        assert not wrong or wrong not in str(caught.value)
    with pytest.raises(ValueError, match="no NATS url") as refused:
        logins.Login("hunter2:secret@")
    assert "secret" not in str(refused.value)
    (tmp_path / "x").write_text("-----BEGIN NATS USER JWT-----\nhunter2\n")
    with pytest.raises(errors.UnavailableError) as missing:
        logins.Login(logins.url_of("nats://h", tmp_path / "x")).sign("nonce")
    assert "hunter2" not in str(missing.value)
