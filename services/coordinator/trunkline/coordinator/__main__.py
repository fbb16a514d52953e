"""`python -m trunkline.coordinator`: the process."""

import os

from trunkline.coordinator import assembly
from trunkline.coordinator.settings import Settings
from trunkline.runtime import ending, logs, settings, stopping


def main() -> None:
    """Entry point of the process and of the container."""
    logs.configure("coordinator")
    stopping.run(assembly.serve(settings.load(Settings, os.environ)))


if __name__ == "__main__":
    ending.run(main)
