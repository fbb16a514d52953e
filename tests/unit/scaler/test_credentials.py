"""When workers' credentials are made, and what an account's claims say of revocations."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.bus.jwts import Claims
from trunkline.scaler import issuing
from trunkline.scaler.core.credentials import Issue, Revoke, next_at, plan
from trunkline.scaler.ports import Held

NAMES = st.sampled_from(["a", "b", "c", "d"])
HELD = st.builds(
    Held,
    issued_at=st.integers(0, 100).map(float),
    expires_at=st.none() | st.integers(101, 400).map(float),
    issuer=st.sampled_from(["k", "old"]),
)


@given(st.sets(NAMES), st.dictionaries(NAMES, HELD), st.integers(0, 500).map(float))
def test_after_a_round_all_who_work_hold_fresh_credentials_and_nobody_else_does(
    wanted: set[str], held: dict[str, Held], now: float
) -> None:
    after = dict(held)
    for change in plan(wanted, held, issuer="k", now=now):
        match change:
            case Issue(pipeline):
                after[pipeline] = Held(issued_at=now, expires_at=now + 30, issuer="k")
            case Revoke(pipeline):
                del after[pipeline]
    assert set(after) == wanted
    assert plan(wanted, after, issuer="k", now=now) == []
    due = next_at(after)
    if due is not None:
        assert due > now
        assert plan(wanted, after, issuer="k", now=due)


def test_a_revocation_is_kept_as_long_as_what_it_revokes_could_count() -> None:
    claims = Claims(sub="A", name="DATA", iat=50, nats={"limits": {}})
    once = issuing.revoking(claims, "U1", 100, now=100, keep_s=10)
    assert (once.iat, once.nats["revocations"]) == (100, {"U1": 100})
    twice = issuing.revoking(once, "U2", 105, now=105, keep_s=10)
    assert twice.nats == {"limits": {}, "revocations": {"U1": 100, "U2": 105}}
    assert issuing.revoking(twice, "U3", 112, now=112, keep_s=10).nats["revocations"] == {
        "U2": 105,
        "U3": 112,
    }
    # what is revoked until later stays so
    assert issuing.revoking(twice, "U2", 90, now=90, keep_s=10).nats == twice.nats
    # a date that is ahead forgets nobody
    ahead = issuing.revoking(twice, "U3", 900, now=106, keep_s=10)
    assert ahead.nats["revocations"] == {"U1": 100, "U2": 105, "U3": 900}
    # a server keeps the newer of two claims, whatever our clock says
    assert issuing.revoking(twice, "U3", 90, now=90, keep_s=10).iat == 106
