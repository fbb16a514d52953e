"""What test pools run in place of the worker agent; `TRUNKLINE_BEHAVIOUR` says what it does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path


def run(environ: Mapping[str, str]) -> None:
    behaviour = environ.get("TRUNKLINE_BEHAVIOUR", "wait")
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour == "raise":
        raise RuntimeError("on purpose")
    if behaviour == "exit":
        sys.exit(7)
    if behaviour == "print":
        sys.stderr.write("x" * 1023 + "\n")
        for _ in range(8 * 1024):
            sys.stderr.write("y" * 1023 + "\n")
    if behaviour == "family":
        # a child, and one with a process group of its own, as the shim gives to commands
        for group in (None, 0):
            subprocess.Popen(["/bin/sleep", "600"], process_group=group)
        # and one that has left its worker's session, whose parent is gone
        away = "/bin/sleep 600 & echo $! >away"
        subprocess.run(["/bin/sh", "-c", away], start_new_session=True, check=True)
    told = {
        "pid": os.getpid(),
        "sid": os.getsid(0),
        "cwd": str(Path.cwd()),
        "environ": dict(os.environ),
        "open": sorted(path.name for path in Path("/proc/self/fd").iterdir()),
        "loaded": "nats" in sys.modules and "obstore" in sys.modules,
        "at": time.monotonic(),
    }
    Path("told.tmp").write_text(json.dumps(told))
    Path("told.tmp").rename("told.json")
    Path("locked").mkdir(exist_ok=True)
    Path("locked/file").touch()
    Path("locked").chmod(0)
    while True:
        time.sleep(60)
