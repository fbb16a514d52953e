"""What a scaler's process loads: the client of Kubernetes costs seconds and 100 MB."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("entry", ["trunkline.scaler.__main__", "trunkline.local.scaler"])
def test_no_client_of_kubernetes_is_loaded_before_there_is_a_cluster(entry: str) -> None:
    script = f"import sys, {entry}; print(*sorted({{n.partition('.')[0] for n in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "kubernetes_asyncio" not in done.stdout.split()
    assert "aiohttp" not in done.stdout.split()
