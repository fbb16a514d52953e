"""Inputs as a tree."""

import pytest
from tests.support.specs import changed, pfs, refused

from trunkline.contracts import spec, spec_parsing


def taken(value):
    return spec_parsing.convert(changed(input=value)).input


def problems(value):
    return refused(changed(input=value))


A, B = pfs(repo="a"), pfs(repo="b")


def keyed(repo, **fields):
    return pfs(repo=repo, join_on="$1", **fields)


def test_inputs_nest_and_each_leaf_has_its_path():
    tree = {"cross": [A, {"union": [B, B, {"group": [pfs(repo="c", group_by="$1")]}]}]}
    assert [(path, leaf.name) for path, leaf in spec.leaves(taken(tree))] == [
        ("$.input.cross[0].pfs", "a"),
        ("$.input.cross[1].union[0].pfs", "b"),
        ("$.input.cross[1].union[1].pfs", "b"),
        ("$.input.cross[1].union[2].group[0].pfs", "c"),
    ]


def test_an_input_is_of_exactly_one_kind():
    for value in ({}, {**A, "union": [B]}, {**A, "cron": {"name": "t", "spec": "@daily"}}):
        assert "set exactly one of `pfs`, `cron`" in problems(value)["$.input"]
    assert problems({"union": []}).keys() == {"$.input.union"}
    assert problems({"cross": [5, A]}).keys() == {"$.input.cross[0]"}


def test_files_of_one_datum_need_directories_of_their_own():
    for kind in ("cross", "join", "group"):
        fields = {"join": {"join_on": "$1"}, "group": {"group_by": "$1"}}.get(kind, {})
        one = pfs(repo="a", **fields)
        assert problems({kind: [one, one]}).keys() == {f"$.input.{kind}[1]"}
        assert taken({kind: [one, pfs(repo="a", name="other", **fields)]})
    assert taken({"union": [A, A]})
    assert problems({"cross": [A, {"union": [B, A]}]}).keys() == {"$.input.cross[1]"}
    tick = {"cron": {"name": "a", "spec": "@daily"}}
    assert problems({"cross": [A, tick]}).keys() == {"$.input.cross[1]"}


def test_problems_deep_in_the_tree_are_told_where_they_stand():
    tree = {"cross": [{"union": [{"pfs": {"repo": "a", "glob": "/["}}]}, {"pfz": {}}]}
    assert problems(tree).keys() == {
        "$.input.cross[0].union[0].pfs.glob",
        "$.input.cross[1].pfz",
        "$.input.cross[1]",
    }


def test_a_join_needs_a_key_on_each_side_at_any_depth():
    join = taken({"join": [keyed("a", outer_join=True), {"cross": [keyed("b"), keyed("c")]}]}).join
    assert join is not None
    assert join[0].pfs == spec.PfsInput(
        repo="a", glob="/(?)(*)", name="a", join_on="$1", outer_join=True
    )
    assert problems({"join": [A, {"cross": [B]}]}) == {
        "$.input.join[0].pfs.join_on": "is needed below a join",
        "$.input.join[1].cross[0].pfs.join_on": "is needed below a join",
    }
    both = pfs(repo="a", join_on="$1", group_by="$2")
    assert taken({"group": [{"join": [both]}]})
    assert problems({"group": [{"join": [keyed("a")]}]}).keys() == {
        "$.input.group[0].join[0].pfs.group_by"
    }


def test_a_key_where_nothing_is_joined_is_refused():
    found = problems({"cross": [keyed("a", outerJoin=True), pfs(repo="b", groupBy="$1")]})
    assert found == {
        "$.input.cross[0].pfs.join_on": "has a meaning below a `join` only",
        "$.input.cross[0].pfs.outerJoin": "has a meaning below a `join` only",
        "$.input.cross[1].pfs.groupBy": "has a meaning below a `group` only",
    }


def test_a_clock_has_a_repo_of_its_own_and_no_key():
    tick = {"cron": {"name": "tick", "spec": "@every 1h", "overwrite": True}}
    assert taken(tick).cron == spec.CronInput(
        name="tick", spec="@every 1h", repo="words_tick", overwrite=True
    )
    named = {"cron": {"name": "tick", "spec": "@every 1h", "repo": "ticks"}}
    assert taken({"cross": [A, named]}).cross[1].cron.repo == "ticks"
    assert "no key to join by" in problems({"join": [tick]})["$.input.join[0].cron"]
    assert problems({"cron": {"name": "x", "spec": "often"}}).keys() == {"$.input.cron.spec"}
    long = changed(pipeline={"name": "p" * 51}, input=tick)
    assert "give the cron input a `repo`" in refused(long)["$.input"]


@pytest.mark.parametrize(
    ("trigger", "path"),
    [
        ({"size": "1G"}, None),
        ({"commits": "5", "all": True, "rate_limit_spec": "@hourly"}, None),
        ({"cronSpec": "0 4 * * *", "branch": "dev"}, None),
        ({}, ""),
        ({"all": True}, ""),
        ({"cron_spec": "@daily", "commits": 5}, ".cron_spec"),
        ({"rateLimitSpec": "x"}, ".rateLimitSpec"),
        ({"size": "much"}, ".size"),
    ],
)
def test_a_trigger_has_conditions_or_a_schedule(trigger, path):
    value = pfs(trigger=trigger)
    if path is None:
        assert taken(value).pfs.trigger is not None
    else:
        assert problems(value).keys() == {f"$.input.pfs.trigger{path}"}


def test_a_key_is_made_of_groups_that_the_glob_has():
    value = {"join": [keyed("a", glob="/*"), pfs(repo="b", joinOn="$1-$3", glob="/(*)/(*)")]}
    found = problems(value)
    assert found.keys() == {"$.input.join[0].pfs.join_on", "$.input.join[1].pfs.joinOn"}
    assert "the glob has 2 groups in parentheses, no $3" in found["$.input.join[1].pfs.joinOn"]
    assert problems({"group": [pfs(group_by="$1", glob="/[")]}).keys() == {
        "$.input.group[0].pfs.glob"
    }


def test_more_inputs_than_can_be_watched_are_refused_before_they_are_read():
    many = problems({"union": [{"pfs": {"repo": "a", "glob": "/["}}] * 100})
    assert many["$.input"] == "has over 64 parts"
    assert not any("glob" in path for path in many)
    assert taken({"union": [A] * 63})
