"""A loop that starts processes, two at a time, and waits for them: what two processors can do.

`sleep` is `/bin/sleep` here, a process for each task.
"""

import os
from collections.abc import Iterable

from bench import tasks, timing

SLOTS = 2


def start(work: str, payload: bytes) -> int:
    """Start a process; return its id."""
    if work == "sleep":
        return os.posix_spawn("/bin/sleep", ["sleep", str(tasks.SLEEP_S)], os.environ)
    return tasks.copying(payload) if work == "copy" else _nothing()


def run(work: str, payloads: Iterable[bytes]) -> int:
    """Run a process for each; return how many ended well."""
    running = good = 0
    for payload in payloads:
        if running == SLOTS:
            good += os.wait()[1] == 0
            running -= 1
        start(work, payload)
        running += 1
    for _ in range(running):
        good += os.wait()[1] == 0
    return good


def _nothing() -> int:
    return os.posix_spawn("/bin/true", ["true"], os.environ)


def main() -> None:
    """Measure."""
    asked = timing.asked()
    with tasks.prepared(asked.work, asked.count) as (warm, payloads):
        run(asked.work, warm)
        with timing.measured(asked) as proof:
            proof.results = run(asked.work, payloads)


if __name__ == "__main__":
    main()
