"""Pictures of the dashboards, drawn of what a real run has measured."""

import time
from xml.etree import ElementTree

import pytest
from tests.pictures import browser, drawing, figures, strokes, units
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


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0"),
        (0.0123, "s", "12.3 ms"),
        (90, "s", "1.5 min"),
        (4200, "short", "4.2 K"),
        (9, "short", "9"),
        (1536, "bytes", "1.5 KiB"),
        (2**20, "Bps", "1 MiB/s"),
        (0.996, "percentunit", "99.6 %"),
        (7.04, "suffix: /s", "7.04 /s"),
        (float("nan"), "s", "-"),
    ],
)
def test_a_value_is_written_short_and_in_its_unit(value, unit, text):
    assert units.told(value, unit) == text


@pytest.mark.parametrize(
    ("top", "unit", "marks"),
    [
        (0.0, "short", [0, 1]),
        (3, "short", [0, 1, 2, 3]),
        (45, "short", [0, 20, 40, 60]),
        (200, "s", [0, 60, 120, 180, 240]),
        (3000, "bytes", [0, 1024, 2048, 3072]),
    ],
)
def test_an_axis_has_round_values_of_its_unit(top, unit, marks):
    assert units.ticks(top, unit) == marks


def test_a_curve_is_cut_where_there_was_nothing():
    series = figures.Series(name="x", points=[(1, 5.0), (2, 6.0), (9, 7.0)])
    span = figures.Span(start=0, end=10)
    assert list(strokes.parts(series, span)) == [[(1, 5.0), (2, 6.0)], [(9, 7.0)]]
    assert list(strokes.runs(series, span)) == [(1, 2, 5.0), (2, 3, 6.0), (9, 10, 7.0)]
