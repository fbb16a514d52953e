"""Everything together on a real API server: from the manifests' rights to the output commit."""

import collections
import re
from collections.abc import Mapping

import pytest
from tests.cluster.whole import Whole

from trunkline.client import files

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = """
for file in /pfs/in/*; do
  tr -cs 'a-z' '\\n' < "$file" | sed '/^$/d' | sort | uniq -c | awk '{print $2 "\\t" $1}' > "/pfs/out/${file##*/}.tsv"
done
"""


def texts(count: int) -> dict[str, bytes]:
    return {
        f"/t{n}": f"the {'datum ' * (n % 7)}of word{'s' * (n % 3)} {n}\n".encode()
        for n in range(count)
    }


def counted(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Count without Trunkline."""
    found = {}
    for path, data in contents.items():
        counts = sorted(collections.Counter(re.findall(rb"[a-z]+", data)).items())
        found[f"{path}.tsv"] = b"".join(b"%s\t%d\n" % each for each in counts)
    return found


async def read(installed: Whole, repo: str) -> dict[str, bytes]:
    found = {}
    async for file in files.ls(installed.client, repo, "master"):
        found[file.path] = b"".join([piece async for piece in installed.client.store.read(file)])
    return found


async def test_words_of_500_files_are_counted_by_four_workers(installed: Whole) -> None:
    await installed.add_nodes(2)
    repo = await installed.new_repo("texts")
    pipeline = await installed.pipeline("words", WORDS, repo=repo, parallelism_spec={"constant": 4})
    contents = texts(500)
    job = await installed.put(repo, contents)
    await installed.succeeded(pipeline, job, within_s=60)
    assert await read(installed, pipeline) == counted(contents)
    assert (await installed.workers(pipeline, 4)).want == 4
