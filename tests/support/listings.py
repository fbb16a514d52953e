"""Listings of jobs without a server: repos are files in a store, and what comes out is datums."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing

from trunkline.bus.ports import Entry
from trunkline.contracts import names, records, spec
from trunkline.contracts.messages import File
from trunkline.contracts.states import JobState
from trunkline.coordinator.core.datums import Datum
from trunkline.coordinator.inputs import Inputs
from trunkline.storage import keys, manifests
from trunkline.storage.store import Store, open_store


class Commits:
    """The commits that a job names, all in the store."""

    def __init__(self, manifest_of: Mapping[str, str]) -> None:
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


def leaf(repo: str, glob: str = "/*", **more: object) -> spec.Input:
    fields = {"name": repo, **more}
    return spec.Input(pfs=spec.PfsInput(repo=repo, glob=glob, **fields))  # type: ignore[arg-type]


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


def a_file(path: str, contents: str = "x") -> File:
    sha256 = hashlib.sha256(contents.encode()).hexdigest()
    return File(path=path, size=len(contents), sha256=sha256, object=keys.of(sha256))


async def stored(store: Store, repos: Mapping[str, Iterable[str]], contents: str = "") -> Commits:
    """Put files at these paths into repos; what is in each file is its path, and these contents."""
    made: dict[str, str] = {}
    for repo, paths in repos.items():
        files = [a_file(path, path + contents) for path in sorted(paths, key=names.path_key)]
        made[repo] = (await manifests.write(store, files)).manifest
    return Commits(made)


async def datums(
    value: spec.Input,
    repos: Mapping[str, Iterable[str]],
    wanted: Callable[[int], bool] = lambda _: True,
    store: Store | None = None,
    contents: str = "",
    kept: int = 1 << 20,
    *,
    stores: bool = True,
) -> list[Datum]:
    """Return the datums of an input over repos with files at these paths."""
    store = store or open_store("memory:///")
    inputs = Inputs(await stored(store, repos, contents), store, kept_bytes=kept, stores=stores)
    async with aclosing(inputs.datums(a_job(value), wanted)) as found:
        return [each async for some in found for each in some]


def paths(found: Sequence[Datum]) -> list[str]:
    """Return what each datum is of."""
    return [each.paths for each in found]
