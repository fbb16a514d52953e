"""Worker pods as they are made, on the process kubelet: from files in a repo to the output commit."""

import collections
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from tests.cluster import pods, worker_site
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.pods import Pods
from tests.cluster.worker_site import Site
from tests.support.operator import OperatorServer

from trunkline.client import files

WORDS = """
for file in /pfs/texts/*; do
  tr -cs 'a-z' '\\n' < "$file" | sed '/^$/d' | sort | uniq -c | awk '{print $2 "\\t" $1}' > "/pfs/out/${file##*/}.tsv"
done
"""


@pytest.fixture
async def site(
    operator_server: OperatorServer, made: Pods, kubelet: Kubelet, tmp_path: Path
) -> AsyncIterator[Site]:
    await kubelet.add_node("n1")
    async with worker_site.running(operator_server, made, kubelet, tmp_path) as started:
        yield started


async def read(site: Site, repo: str) -> dict[str, bytes]:
    found = {}
    async for file in files.ls(site.client, repo, "master"):
        found[file.path] = b"".join([piece async for piece in site.client.store.read(file)])
    return found


def texts(count: int) -> dict[str, bytes]:
    return {
        f"/t{n}": f"the {'datum ' * (n % 7)}of word{'s' * (n % 3)} {n}\n".encode()
        for n in range(count)
    }


def counted(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    found = {}
    for path, data in contents.items():
        counts = sorted(collections.Counter(re.findall(rb"[a-z]+", data)).items())
        found[f"{path}.tsv"] = b"".join(b"%s\t%d\n" % each for each in counts)
    return found


async def test_words_of_500_files_are_counted_by_pods(site: Site, kubelet: Kubelet) -> None:
    contents = texts(500)
    spec = await site.pipeline("words", WORDS)
    names = await site.start(spec, 2)
    job = await site.put("texts", contents)
    await site.succeeded("words", job, within_s=40)
    assert await read(site, "words") == counted(contents)
    for name in names:
        await site.pods.until(name, pods.running)
        assert kubelet.log(site.pods.namespace, name, "user") == ""
