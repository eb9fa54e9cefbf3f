import numpy as np
import pytest

from eqlin_core.figures import agreement, diverging_colour
from eqlin_core.figures.waterfall_bars import DIFFERS

from .cases import MARIN, prompt

ROWS = [("published", np.array([4.0, -1.0])), ("half, attention half", np.array([-0.25, 0.5])), ("zero", np.zeros(2))]


def drawn(rows=ROWS, tokens=("a", "b"), *, shown="published", differs=(), **options):
    return agreement(rows, list(tokens), shown=shown, differs=differs, **options)


def test_colours_are_shares_of_each_rows_largest_term_and_numbers_the_terms():
    figure = drawn(theme="dark").figure
    cells, numbers = figure.data
    np.testing.assert_array_equal(np.array(cells.z), [[1.0, -0.25], [-0.5, 1.0], [0.0, 0.0]])
    assert (cells.zmin, cells.zmax) == (-1, 1)
    text = {(x, y): text for x, y, text in zip(numbers.x, numbers.y, numbers.text, strict=True)}
    assert [text[0, 0], text[1, 0], text[0, 1], text[1, 1]] == ["4.00", "−1.00", "−0.250", "0.500"]
    assert numbers.textfont.color[0] == diverging_colour(1.0, 1.0, "dark")[1]
    assert "term −0.250<br>−50.0 % of the row's largest" in cells.customdata[1][0]


def test_the_shown_map_is_bold_and_the_first_row_on_top():
    axis = drawn(shown="half, attention half").figure.layout.yaxis
    assert list(axis.ticktext) == ["published", "<b>half, attention half</b>", "zero"]
    assert axis.range[0] > axis.range[1]


def test_a_marker_above_a_column_says_that_its_token_differs():
    figure = drawn(differs=[1]).figure
    marker = figure.data[-1]
    assert (list(marker.x), marker.hovertemplate) == ([1], "%{customdata}<extra></extra>")
    assert marker.customdata[0] == f"b  position 1<br>{DIFFERS}"
    assert figure.layout.yaxis.range[1] < marker.y[0] < -0.5, "above the first row"
    assert DIFFERS in figure.layout.xaxis.title.text
    assert DIFFERS not in drawn().figure.layout.xaxis.title.text


@pytest.mark.parametrize(("T", "traces"), [(12, 2), (13, 1)])
def test_numbers_are_printed_up_to_twelve_tokens(T, traces):
    assert len(drawn([("published", np.ones(T))], prompt(T)).figure.data) == traces


def test_the_table_has_one_row_for_each_map_and_token():
    table = drawn().table
    assert table["map"] == ["published"] * 2 + ["half, attention half"] * 2 + ["zero"] * 2
    assert (table["position"], table["token"]) == ([0, 1] * 3, ["a", "b"] * 3)
    assert table["term"] == [4.0, -1.0, -0.25, 0.5, 0.0, 0.0]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="2 terms of 'published' for 7 tokens"):
        drawn(tokens=MARIN)
    with pytest.raises(ValueError, match="no map 'gate'; there are published"):
        drawn(shown="gate")
    with pytest.raises(ValueError, match="Position 2 differs, of 2 tokens"):
        drawn(differs=[2])
    with pytest.raises(ValueError, match="at least one row"):
        drawn([])
