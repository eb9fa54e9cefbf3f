"""Methods against each other, one marker with its interval for each list."""

import pytest

from eqlin_core.figures import method_means
from eqlin_core.figures.palette import LOOKS

LISTS = {
    "facts": {"half": (0.5, 0.4, 0.6), "random": (0.0, -0.1, 0.1)},
    "patterns": {"half": (0.4, 0.35, 0.45), "random": (0.02, -0.05, 0.1)},
}


def test_every_list_marks_every_method_with_its_interval():
    figure = method_means(LISTS, measure="rank agreement", exact={"half"}).figure
    facts, patterns = figure.data
    assert (facts.name, patterns.name) == ("facts", "patterns")
    assert list(facts.x) == [0.5, 0.0]
    assert list(facts.error_x.array) == pytest.approx([0.1, 0.1])
    assert list(patterns.error_x.arrayminus) == pytest.approx([0.05, 0.07])
    assert list(figure.layout.yaxis.ticktext) == ["half *", "random"]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1], "the first method is on top"
    assert figure.layout.xaxis.title.text == "rank agreement"
    assert facts.y[0] < patterns.y[0], "lists lie beside each other"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lists_differ_in_colour_and_in_shape(theme):
    facts, patterns = method_means(LISTS, measure="rank", theme=theme).figure.data
    assert facts.marker.color == LOOKS[theme].accent != patterns.marker.color
    assert facts.marker.symbol != patterns.marker.symbol


def test_the_table_has_a_row_for_every_mean():
    table = method_means(LISTS, measure="rank").table
    assert table["list"] == ["facts", "facts", "patterns", "patterns"]
    assert table["method"] == ["half", "random"] * 2
    assert table["low"] == [0.4, -0.1, 0.35, -0.05]


def test_nothing_to_draw_and_lists_of_different_methods_are_refused():
    with pytest.raises(ValueError, match="at least one list"):
        method_means({}, measure="rank")
    with pytest.raises(ValueError, match="same methods"):
        method_means({**LISTS, "other": {"random": (0, 0, 0)}}, measure="rank")
