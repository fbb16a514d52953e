"""What the bootstrap job makes: once, and again wherever it was cut short."""

import itertools
import secrets

import pytest

from trunkline.bus import bootstrap, jwts, operator
from trunkline.bus.jwts import Key
from trunkline.contracts import errors

SETTINGS = bootstrap.Settings(resolver_dir="/data/resolver")


class CutError(Exception):
    """The process dies before a write."""


class Shelf(dict[str, str]):
    """Texts in memory; `cut_after` writes, the process dies."""

    cut_after: int | None = None

    def read(self, name: str) -> str | None:
        return self.get(name)

    def write(self, name: str, text: str) -> None:
        if self.cut_after is not None:
            if not self.cut_after:
                raise CutError
            self.cut_after -= 1
        self[name] = text


def run(shelf: Shelf, *, now: int = 1000, rotate: str = "") -> list[str]:
    new = secrets.token_urlsafe
    return bootstrap.run(shelf, SETTINGS, now=now, new_secret=lambda: new(32), rotate=rotate)


def user(shelf: Shelf, role: str) -> jwts.Claims:
    return jwts.read(jwts.read_creds(shelf[bootstrap.creds_of(role)]).jwt)


def check(shelf: Shelf) -> None:
    """All of it is there and fits together."""
    keys = {name: Key(shelf[f"{name}.seed"]).public for name in ("operator", "revoking", "workers")}
    accounts = {name: jwts.read(shelf[f"{name}.jwt"]) for name in ("SYS", "CTL", "USERS", "DATA")}
    said = jwts.read(shelf["operator.jwt"])
    assert said.iss == said.sub == keys["operator"]
    assert said.nats["signing_keys"] == [keys["revoking"]]
    assert said.nats["system_account"] == accounts["SYS"].sub
    assert [each["key"] for each in accounts["DATA"].nats["signing_keys"]] == [keys["workers"]]
    for name, claims in accounts.items():
        assert (claims.iss, claims.sub) == (keys["operator"], Key(shelf[f"{name}.seed"]).public)
        assert shelf[f"{name}.jwt"] in shelf["resolver.conf"]
    for role in bootstrap.ROLES:
        account = accounts[operator.account_of(role)]
        claims = user(shelf, role)
        assert claims.iss == account.sub
        assert claims.sub not in account.nats.get("revocations", {})
        assert claims.sub == Key(jwts.read_creds(shelf[bootstrap.creds_of(role)]).seed).public
    assert "SEED" not in shelf["resolver.conf"]
    assert not any(shelf[name] in shelf["resolver.conf"] for name in shelf if "seed" in name)


def test_a_second_run_changes_nothing() -> None:
    shelf = Shelf()
    assert run(shelf)
    check(shelf)
    before = dict(shelf)
    assert run(shelf, now=2000) == []
    assert shelf == before


@pytest.mark.parametrize("rotate", ["", "coordinator", "workers"])
def test_a_run_that_is_cut_short_anywhere_is_finished_by_the_next_one(rotate: str) -> None:
    made = Shelf()
    if rotate:
        run(made)
    for cut in itertools.count():
        shelf = Shelf(made)
        shelf.cut_after = cut
        try:
            run(shelf, now=2000, rotate=rotate)
        except CutError:
            shelf.cut_after = None
            run(shelf, now=3000)
            check(shelf)
            seeds = [
                name for name in made if name.endswith((".seed", "key")) and rotate not in name
            ]
            assert all(shelf[name] == made[name] for name in seeds)
        else:
            return


@pytest.mark.parametrize("missing", ["workers.seed", "CTL.jwt", "user.creds", "resolver.conf"])
def test_what_is_missing_is_made_and_the_rest_stays_where_it_fits(missing: str) -> None:
    shelf = Shelf()
    run(shelf)
    del shelf[missing]
    before = dict(shelf)
    written = run(shelf, now=2000)
    check(shelf)
    assert missing in written
    if missing != "workers.seed":
        assert set(written) <= {missing, "resolver.conf"}
        assert {**before, **{name: shelf[name] for name in written}} == shelf


def test_who_is_rotated_is_revoked_and_has_another_key_and_nobody_else_has() -> None:
    shelf = Shelf()
    run(shelf)
    before = {role: user(shelf, role) for role in bootstrap.ROLES}
    written = run(shelf, now=2000, rotate="scaler")
    assert written == ["CTL.jwt", "scaler.creds", "resolver.conf"]
    revoked = jwts.read(shelf["CTL.jwt"]).nats["revocations"]
    assert revoked == {before["scaler"].sub: before["scaler"].iat}
    after = {role: user(shelf, role) for role in bootstrap.ROLES}
    assert [role for role in before if before[role] != after[role]] == ["scaler"]
    assert run(shelf, now=3000) == []


def test_new_claims_are_newer_whatever_the_clock_says() -> None:
    """A server keeps the newer ones of two; a clock that went back must not make it keep the old."""
    shelf = Shelf()
    run(shelf, now=2000)
    run(shelf, now=1000, rotate="workers")
    assert jwts.read(shelf["DATA.jwt"]).iat == 2001


def test_what_nobody_may_rotate_is_refused() -> None:
    shelf = Shelf()
    for name in ("operator", "data-key", "worker", "SYS"):
        with pytest.raises(errors.InvalidNameError):
            run(shelf, rotate=name)
    assert not shelf
