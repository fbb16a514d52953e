"""Write the dashboards, as `make dashboards` does: a file each, for Grafana to be given."""

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from manifests.grafana import jetstream, overview, pipeline, scaling

FOLDER = Path(__file__).parent / "dashboards"
BOARDS = (overview.BOARD, pipeline.BOARD, scaling.BOARD, jetstream.BOARD)


def written() -> dict[str, str]:
    """Return each file's name and what is in it."""
    encoder = JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False)
    return {f"{board.uid}.json": encoder.encode(board) + "\n" for board in BOARDS}


def main() -> None:
    """Write all that there are, and leave no other."""
    FOLDER.mkdir(exist_ok=True)
    files = written()
    for path in FOLDER.glob("*.json"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
