"""What `make test-cluster` does before the tests: finds or builds the control plane, and tries a container.

It says where the cluster comes from, that containers can be made here, and by what their memory is
limited; it fails, and says why, where the tests could not run.
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster import leftovers
from tests.cluster.kubelet import memory, sandbox
from tests.cluster.plane import build


def main() -> None:
    """Say what there is, and make what is missing."""
    if kubeconfig := os.environ.get("KUBECONFIG"):
        build.say(f"cluster: the one of {kubeconfig}, as KUBECONFIG says; nothing is built")
    else:
        _control_plane()
    directory = leftovers.make(Path(tempfile.gettempdir()), "kubelet")
    try:
        asyncio.run(sandbox.prove(directory))
    except sandbox.NamespacesRefusedError as error:
        sys.exit(f"containers: {error}")
    finally:
        shutil.rmtree(directory)
    build.say(f"containers: can be made; their memory is limited by {memory.LIMITED_BY}")


def _control_plane() -> None:
    if found := build.find():
        build.say(f"control plane: found in {found}")
        return
    build.say(f"control plane: none in {build.home()}; building it, some five minutes, once")
    began = time.monotonic()
    try:
        built = build.find_or_build()
    except build.CannotBuildError as error:
        sys.exit(f"control plane: {error}")
    build.say(f"control plane: built in {time.monotonic() - began:.0f} s, kept in {built}")


if __name__ == "__main__":
    main()
