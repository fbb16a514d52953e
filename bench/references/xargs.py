"""`xargs -P2 sh -c 'cat in > out'` over files of 1 KB."""

import subprocess

from bench import tasks, timing


def run(payloads: list[bytes]) -> None:
    """Copy all files."""
    command = ["xargs", "-P2", "-n1", "sh", "-c", '/bin/cat "$0.in" > "$0.out"']
    subprocess.run(command, input=b"\n".join(payloads), check=True)


def main() -> None:
    """Measure."""
    asked = timing.asked()
    with tasks.prepared("copy", asked.count) as (warm, payloads):
        run(warm)
        with timing.measured(asked) as proof:
            run(payloads)
            proof.results = len(payloads)  # what is not there is found by `prepared`


if __name__ == "__main__":
    main()
