"""Inputs that are combined: which datums there are, in which order, found again from any index."""

import itertools
from contextlib import aclosing

import pytest

from trunkline.bus.ports import Entry
from trunkline.contracts import records, spec
from trunkline.contracts.messages import File
from trunkline.contracts.states import JobState
from trunkline.coordinator import inputs
from trunkline.coordinator.inputs import Inputs
from trunkline.storage import manifests
from trunkline.storage.store import Store, open_store


class Commits:
    """The commits that the job names, all in the store."""

    def __init__(self, manifest_of: dict[str, str]) -> None:
        self.manifest_of = manifest_of

    async def get(self, key: str) -> Entry[records.Commit]:
        repo, commit = key.split(".")
        value = records.Commit(
            id=commit,
            repo=repo,
            branch="master",
            manifest=self.manifest_of[repo],
            files=0,
            size=0,
            created_ns=0,
        )
        return Entry(key=key, value=value, revision=1)


def leaf(repo: str) -> spec.Input:
    return spec.Input(pfs=spec.PfsInput(repo=repo, glob="/*", name=repo))


def a_job(value: spec.Input) -> records.Job:
    return records.Job(
        pipeline="p",
        id="a" * 32,
        version=1,
        code_hash="c",
        spec=spec.PipelineSpec(name="p", transform=spec.Transform(cmd=("true",)), input=value),
        salt="s",
        order=1,
        inputs=tuple(
            records.JobInput(name=each.name, repo=each.repo, branch="master", commit="b" * 32)
            for each in spec.inputs(value)
        ),
        state=JobState.LISTING,
        created_ns=0,
    )


async def listed(store: Store, value: spec.Input, sizes: dict[str, int], first: int = 0):
    made = {}
    for repo, size in sizes.items():
        files = [
            File(path=f"/{repo}{number:05}", size=1, sha256="0" * 64) for number in range(size)
        ]
        made[repo] = (await manifests.write(store, files)).manifest
    datums = Inputs(Commits(made), store).datums(a_job(value), lambda index: index >= first)
    async with aclosing(datums) as found:
        return [(each.index, each.paths.replace("/", "")) async for some in found for each in some]


@pytest.mark.parametrize("remembered", [0, 2, 100])
async def test_a_cross_is_the_nested_product_however_much_is_remembered(monkeypatch, remembered):
    monkeypatch.setattr(inputs, "REMEMBERED", remembered)
    value = spec.Input(cross=(leaf("a"), leaf("b"), leaf("c")))
    found = await listed(open_store("memory:///"), value, {"a": 3, "b": 2, "c": 4})
    names = [
        [f"{repo}{n:05}" for n in range(size)] for repo, size in (("a", 3), ("b", 2), ("c", 4))
    ]
    assert [told for _, told in found] == [", ".join(each) for each in itertools.product(*names)]
    assert [index for index, _ in found] == list(range(24))


async def test_a_union_is_one_after_the_other_and_may_stand_in_a_cross():
    union = spec.Input(union=(leaf("a"), leaf("b")))
    found = await listed(open_store("memory:///"), union, {"a": 2, "b": 1})
    assert [told for _, told in found] == ["a00000", "a00001", "b00000"]
    value = spec.Input(cross=(leaf("c"), union))
    found = await listed(open_store("memory:///"), value, {"a": 1, "b": 1, "c": 2})
    assert [told for _, told in found] == [
        "c00000, a00000",
        "c00000, b00000",
        "c00001, a00000",
        "c00001, b00000",
    ]


async def test_a_listing_goes_on_from_any_index():
    value = spec.Input(cross=(leaf("a"), leaf("b")))
    every = await listed(open_store("memory:///"), value, {"a": 5, "b": 5})
    rest = await listed(open_store("memory:///"), value, {"a": 5, "b": 5}, first=13)
    assert rest == every[13:]


async def test_a_cross_with_an_empty_input_has_no_datums():
    value = spec.Input(cross=(leaf("a"), leaf("b")))
    assert await listed(open_store("memory:///"), value, {"a": 5, "b": 0}) == []
