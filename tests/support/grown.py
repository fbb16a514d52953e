"""Directories that tests of trees grow, and what is found in them again."""

import os
from pathlib import Path

from trunkline.contracts.messages import File
from trunkline.storage import manifests, trees


def grow(root, files):
    for path, data in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return root


def contents_of(root):
    return {
        f"/{path.relative_to(root)}": path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def inline(uploaded: trees.Uploaded) -> tuple[File, ...]:
    assert uploaded.files is not None
    return uploaded.files


async def files_of(store, uploaded):
    if uploaded.files is not None:
        return list(uploaded.files)
    return [file async for file in manifests.read(store, uploaded.manifest)]


def open_files():
    """Return how many descriptors are open, without connections: a bucket's are kept for the next."""
    links = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
    return len([link for link in links if "socket:" not in link])
