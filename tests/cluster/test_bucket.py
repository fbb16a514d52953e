"""A store that is a bucket, and no directory of anybody's: what several nodes need."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.cluster import whole
from tests.cluster.kubelet.kubelet import IN_A_HURRY
from tests.cluster.whole import Whole
from tests.support.s3 import KEY, SECRET, S3Server

from trunkline.client import files

pytestmark = pytest.mark.s3

SCRIPT = """
echo began
for file in /pfs/in/*; do wc -w < "$file" > "/pfs/out/${file##*/}"; done
env; cat /proc/*/environ | tr '\\0' '\\n'
"""


@pytest.fixture
async def on_bucket(
    kubeconfig: Path, s3_server: S3Server, s3_url: str, tmp_path: Path
) -> AsyncIterator[Whole]:
    """An installation of the test's own on a bucket."""
    async with whole.running(
        kubeconfig, tmp_path, pace=IN_A_HURRY, bucket=s3_url, access=s3_server.environ
    ) as started:
        started.begin()
        yield started
        await started.end()


async def test_pods_on_three_nodes_work_on_a_bucket_that_their_commands_cannot_enter(
    on_bucket: Whole,
) -> None:
    await on_bucket.add_nodes(3)
    repo = await on_bucket.new_repo("texts")
    pipeline = await on_bucket.pipeline(
        "count", SCRIPT, repo=repo, parallelism_spec={"coefficient": 1}
    )
    job = await on_bucket.put(repo, {f"/{n:02}": b"word " * n for n in range(60)})
    await on_bucket.succeeded(pipeline, job)
    found = {}
    async for file in files.ls(on_bucket.client, pipeline, job):
        data = b"".join([piece async for piece in on_bucket.client.store.read(file)])
        found[file.path] = int(data)
    assert found == {f"/{n:02}": n for n in range(60)}
    logs = [line.line.text async for line in on_bucket.client.logs(pipeline, job)]
    said = "".join(logs).splitlines()
    assert said.count("began") == 60
    assert [text for text in said if KEY in text or SECRET in text or "AWS_" in text] == []
    assert len({each.spec.node_name for each in await on_bucket.pods_of(pipeline)}) == 3
