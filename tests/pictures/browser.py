"""A picture of an SVG, taken by a headless Chromium."""

import asyncio
import re
import shutil
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
FACTOR = 1.5
"""Pixels of a picture per pixel of what is drawn, so that it is sharp on any screen."""
WITHIN_S = 60.0


class NoBrowserError(AssertionError):
    """There is none."""

    def __init__(self) -> None:
        super().__init__(
            "no Chromium is installed; Debian: apt-get install --no-install-recommends chromium"
        )


async def photograph(svg: str, target: Path) -> None:
    """Write the picture of an SVG."""
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        raise NoBrowserError
    width, height = re.findall(r'(?:width|height)="(\d+)"', svg)[:2]
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(
            f'<meta charset="utf-8"><style>*{{margin:0}}svg{{display:block}}</style>{svg}'
        )
        process = await asyncio.create_subprocess_exec(
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
            f"--user-data-dir={folder}/profile",
            f"--force-device-scale-factor={FACTOR}",
            f"--window-size={width},{height}",
            f"--screenshot={target.resolve()}",
            page.as_uri(),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(WITHIN_S):
                _, told = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode or not target.exists():
        raise AssertionError(told.decode(errors="replace")[-2000:])
