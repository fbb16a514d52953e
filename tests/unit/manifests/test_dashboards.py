"""What a dashboard must have so that it works in any Grafana, and says what it shows."""

import itertools
import re

import pytest
from manifests.grafana.__main__ import written
from tests.support import dashboards

from trunkline.runtime import metric_names
from trunkline.runtime.metrics import Kind

BOARDS = dashboards.read()
PANELS = [(uid, panel) for uid, board in BOARDS.items() for panel in dashboards.panels(board)]
QUERIES = [(uid, panel, query) for uid, panel in PANELS for query in panel["targets"]]
COLUMNS = 24
PARTS = ("_bucket", "_sum", "_count")


def known(name: str) -> bool:
    """Say whether a name is a metric's, or a part of a histogram's."""
    for part in PARTS:
        whole = metric_names.BY_NAME.get(name.removesuffix(part))
        if name.endswith(part) and whole is not None and whole.kind is Kind.HISTOGRAM:
            return True
    return name in metric_names.BY_NAME or name.startswith("process_")


def test_what_is_committed_is_what_the_program_makes():
    files = {path.name: path.read_text() for path in dashboards.FOLDER.iterdir()}
    assert files == written(), "run `make dashboards`"


def test_there_is_a_board_for_each_subject():
    assert set(BOARDS) == {
        f"trunkline-{name}" for name in ("overview", "pipeline", "scaling", "jetstream")
    }


def test_a_panel_says_what_it_is_and_in_what_unit():
    for uid, panel in PANELS:
        assert panel["title"], (uid, panel["id"])
        assert len(panel["description"]) > 20, (uid, panel["title"])
        assert panel["fieldConfig"]["defaults"]["unit"], (uid, panel["title"])
        assert panel["targets"], (uid, panel["title"])


def test_a_panel_takes_the_source_that_the_viewer_has_chosen():
    for uid, panel in PANELS:
        for each in (panel, *panel["targets"]):
            assert each["datasource"] == {"type": "prometheus", "uid": "${source}"}, (
                uid,
                panel["title"],
            )


def test_each_board_lets_one_choose_the_source_and_is_of_one_family():
    for board in BOARDS.values():
        kinds = {each["name"]: each["type"] for each in board["templating"]["list"]}
        assert kinds["source"] == "datasource"
        assert board["tags"] == ["trunkline"]
        assert board["description"]
        assert not board["editable"]


def test_a_variable_is_used_only_where_there_is_one():
    for uid, _, query in QUERIES:
        names = {each["name"] for each in BOARDS[uid]["templating"]["list"]}
        used = set(re.findall(r"\$(\w+)", query["expr"])) - {"__rate_interval", "__range"}
        assert used <= names, (uid, query["expr"])


def test_all_is_of_the_installations_that_the_viewer_has_chosen():
    for uid, panel, query in QUERIES:
        asked = re.findall(r"\w+_\w+\{([^}]*)\}", query["expr"])
        assert len(asked) == len(re.findall(r"\b(?:trunkline|nats)_\w+", query["expr"]))
        assert all('installation=~"$installation"' in each for each in asked), (uid, panel["title"])
    for board in BOARDS.values():
        (chosen,) = (each for each in board["templating"]["list"] if each["name"] == "installation")
        assert chosen["includeAll"]
        assert chosen["allValue"] == ".*"  # of those without the label, too


def test_what_has_a_name_in_its_installation_only_is_shown_for_each():
    """Two may have a pipeline, a stream or a process of one name, and their sum is nothing."""
    for uid, panel, query in QUERIES:
        for labels in re.findall(r"by \(([^)]*)\)", query["expr"]):
            if {"pipeline", "stream_name", "instance"} & set(labels.split(", ")):
                assert labels.startswith("installation, "), (uid, panel["title"])
                assert (
                    panel["type"] == "table"
                    or "sum(clamp_min" in query["expr"]
                    or ("{{installation}}" in query["legendFormat"])
                ), (uid, panel["title"])


def test_nodes_that_several_share_are_counted_once():
    shown = [each["expr"] for _, _, each in QUERIES if "_nodes{" in each["expr"]]
    assert len(shown) > 3
    assert all(each.startswith("max (") or "installation, pipeline" in each for each in shown)


def test_nothing_is_zero_for_a_count_and_no_part_of_anything():
    for uid, panel in PANELS:
        if panel["type"] == "stat":
            (query,) = panel["targets"]
            nothing = "-" if " / " in query["expr"] else "0"
            assert panel["fieldConfig"]["defaults"]["noValue"] == nothing, (uid, panel["title"])


def test_panels_lie_on_the_grid_and_not_on_each_other():
    for uid, board in BOARDS.items():
        taken: dict[tuple[int, int], str] = {}
        for panel in board["panels"]:
            place = panel["gridPos"]
            assert min(place["w"], place["h"]) > 0
            assert min(place["x"], COLUMNS - place["x"] - place["w"]) >= 0, (uid, panel["title"])
            for cell in itertools.product(
                range(place["x"], place["x"] + place["w"]),
                range(place["y"], place["y"] + place["h"]),
            ):
                assert cell not in taken, (uid, panel["title"], taken[cell])
                taken[cell] = panel["title"]


def test_titles_and_numbers_tell_the_panels_of_a_board_apart():
    for board in BOARDS.values():
        found = list(dashboards.panels(board))
        assert len({panel["title"] for panel in found}) == len(found)
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_every_metric_of_every_expression_is_one_that_we_have():
    for uid, panel, query in QUERIES:
        names = dashboards.metrics(query["expr"])
        assert names
        assert all(known(name) for name in names), (uid, panel["title"], names)


def test_a_rate_looks_back_over_what_fits_the_scrapes():
    for uid, panel, query in QUERIES:
        for function, window in re.findall(r"(\w+)\([^()]*\[([^\]]*)\]", query["expr"]):
            wanted = "$__range" if function == "increase" else "$__rate_interval"
            assert window == wanted, (uid, panel["title"])


def test_what_only_rises_is_never_shown_as_it_is():
    """A counter begins again with its process: only its rise says anything."""
    for uid, panel, query in QUERIES:
        risen = set(re.findall(r"(?:rate|increase)\((\w+)", query["expr"]))
        for name in dashboards.metrics(query["expr"]) - risen:
            metric = metric_names.BY_NAME.get(name)
            assert metric is not None, (uid, panel["title"])
            assert metric.kind is Kind.GAUGE, (uid, panel["title"])


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        (
            'sum by (le, a) (rate(x_total{b="c_d", e=~"f|g"}[$__rate_interval])) / on (h) y',
            {"x_total", "y"},
        ),
        ("(x > bool 0) * (2 + (y >= bool z)) and z offset 5m", {"x", "y", "z"}),
        ("histogram_quantile(0.95, sum(rate(x_bucket[1m])) by (le))", {"x_bucket"}),
        ("time() - x > 5e3 unless on() absent(y)", {"x", "y"}),
    ],
)
def test_names_are_found_in_an_expression(expr, names):
    assert dashboards.metrics(expr) == names
