"""Charts of a study: every value is counted once, what cannot be drawn is left out, and nothing is not drawn."""

from __future__ import annotations

import numpy as np
import pytest

from eqlin_core.figures import histograms, measures_scatter
from eqlin_core.figures.studies import BINS, MOST_ROWS

GROUPS = {"position 0": [1.0, 1.1, 1.2, 5.0], "<b>": [2.0, float("nan"), float("inf"), 8.0], "none": [], "one": [3.0]}


@pytest.mark.parametrize("log", [False, True])
def test_every_finite_value_is_in_one_bin_of_its_group(log: bool) -> None:
    chart = histograms(GROUPS, quantity="stable rank", log=log)
    counts: dict[str, int] = {}
    for group, count in zip(chart.table["group"], chart.table["count"], strict=True):
        counts[group] = counts.get(group, 0) + count
    assert counts == {"position 0": 4, "<b>": 2, "one": 1}
    assert (min(chart.table["from"]), max(chart.table["to"])) == pytest.approx((1.0, 8.0))
    assert len(chart.table["group"]) == 3 * BINS
    assert len(chart.figure.layout.yaxis.ticktext) == 3
    assert "&lt;b&gt;" in chart.figure.layout.yaxis.ticktext[1]
    medians = [trace for trace in chart.figure.data if trace.mode == "lines+text"]
    assert [trace.x[0] for trace in medians] == pytest.approx([1.15, 5.0, 3.0])
    assert chart.alternative
    assert chart.in_theme("dark").figure.layout.plot_bgcolor != chart.figure.layout.plot_bgcolor


def test_on_powers_of_ten_what_is_not_positive_is_left_out() -> None:
    chart = histograms({"all": [0.0, -1.0, 10.0, 1000.0]}, quantity="error", log=True)
    assert sum(chart.table["count"]) == 2
    assert chart.figure.layout.xaxis.type == "log"


def test_many_groups_are_cut_off_and_none_is_an_error() -> None:
    chart = histograms({str(i): [float(i)] for i in range(40)}, quantity="x")
    assert len(chart.figure.layout.yaxis.ticktext) == MOST_ROWS
    empty: list[dict[str, list[float]]] = [{}, {"a": []}, {"a": [float("nan")]}]
    for nothing in empty:
        with pytest.raises(ValueError, match="no value"):
            histograms(nothing, quantity="x")
    with pytest.raises(ValueError, match="no value"):
        histograms({"a": [-1.0]}, quantity="x", log=True)
    alike = histograms({"a": [2.0, 2.0]}, quantity="x")
    assert sum(alike.table["count"]) == 2


def test_two_numbers_are_a_point_where_both_are_there() -> None:
    x, y = [1.0, 2.0, float("nan"), 0.0], [3.0, float("inf"), 1.0, 4.0]
    chart = measures_scatter(x, y, ["a", "b", "c", "<i>"], quantities=("size", "term"))
    assert chart.table == {"name": ["a", "<i>"], "size": [1.0, 0.0], "term": [3.0, 4.0]}
    logarithmic = measures_scatter(x, y, list("abcd"), quantities=("size", "term"), log=(True, False))
    assert logarithmic.table["name"] == ["a"]
    assert np.all(np.isfinite(logarithmic.figure.data[0].x))
    with pytest.raises(ValueError, match="no point"):
        measures_scatter([float("nan")], [1.0], ["a"], quantities=("a", "b"))
    with pytest.raises(ValueError, match="2 and 1 numbers for 1 names"):
        measures_scatter([1.0, 2.0], [1.0], ["a"], quantities=("a", "b"))
