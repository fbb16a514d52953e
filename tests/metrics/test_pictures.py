"""Pictures of the dashboards, drawn of what a real run has measured."""

import time
from xml.etree import ElementTree

import pytest
from tests.pictures import browser, drawing, figures, units
from tests.support import dashboards


@pytest.mark.parametrize("uid", sorted(dashboards.read()))
async def test_a_dashboard_is_drawn_with_all_that_its_panels_show(run, uid):
    board = dashboards.read()[uid]
    now = time.time_ns() / 1e9
    span = figures.Span(start=now - 60, end=now)
    panels = list(dashboards.panels(board))
    pipeline = "thumbnails" if uid == "trunkline-pipeline" else ".*"
    shown = [await figures.shown(run.prometheus, each, span, pipeline=pipeline) for each in panels]
    svg = drawing.dashboard(board, shown, span, "a note")
    texts = {
        each.text for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    }
    assert {each["title"] for each in panels} <= texts
    assert "a note" in texts
    drawn = {each.name for one in shown for each in one.series if one.panel["type"] == "timeseries"}
    assert drawn <= texts


async def test_a_browser_takes_the_picture(tmp_path):
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100"><rect width="200" height="100" fill="{units.BACK}"/></svg>'
    await browser.photograph(svg, tmp_path / "picture.png")
    head = (tmp_path / "picture.png").read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    size = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    assert size == (200 * browser.FACTOR, 100 * browser.FACTOR)
