import numpy as np
import pytest

from eqlin_core.figures import diverging_colour, norms_and_cosines, token_target_heatmap

from .cases import MARIN, TARGETS, prompt


def shares(T: int) -> np.ndarray:
    return np.random.default_rng(T).normal(size=(T, len(TARGETS)))


@pytest.mark.parametrize("T", [1, 7, 40])
def test_the_colours_of_the_heat_map_are_centred_at_zero(T):
    cells = token_target_heatmap(shares(T) + 5, prompt(T), TARGETS).figure.data[0]
    assert cells.zmin == -cells.zmax < 0


def test_the_heat_map_shows_every_share_where_its_tokens_are():
    values = shares(7)
    chart = token_target_heatmap(values, MARIN, TARGETS)
    np.testing.assert_array_equal(np.array(chart.figure.data[0].z), values.T)
    row = 3 * len(TARGETS) + 2
    assert [chart.table[c][row] for c in ("position", "token", "target_rank", "target", "term")] == [
        3,
        " of",
        3,
        TARGETS[2],
        values[3, 2],
    ]
    assert chart.table["term"] == values.ravel().tolist()


def test_one_huge_term_is_clipped_and_the_colour_bar_says_so():
    values = shares(40)
    plain = token_target_heatmap(values, prompt(40), TARGETS).figure.data[0]
    values[0, 0] = 1000.0
    clipped = token_target_heatmap(values, prompt(40), TARGETS).figure.data[0]
    assert clipped.zmax < 10
    assert "99th" in clipped.colorbar.title.text
    assert "99th" not in plain.colorbar.title.text
    assert plain.zmax == np.abs(shares(40)).max()


def test_a_given_limit_is_kept_and_named_where_it_clips():
    def drawn(limit):
        return token_target_heatmap(shares(7), MARIN, TARGETS, limit=limit).figure.data[0]

    assert drawn(0.5).zmax == 0.5
    assert "±0.500" in drawn(0.5).colorbar.title.text
    assert "±" not in drawn(50.0).colorbar.title.text
    with pytest.raises(ValueError, match="above zero"):
        drawn(0.0)


def test_small_heat_maps_print_their_numbers_in_a_text_colour_that_reads():
    values = shares(7)
    figure = token_target_heatmap(values, MARIN, TARGETS, theme="dark").figure
    numbers = figure.data[1]
    assert len(numbers.text) == values.size
    assert numbers.textfont.color[0] == diverging_colour(values[0, 0], figure.data[0].zmax, "dark")[1]
    assert len(token_target_heatmap(shares(40), prompt(40), TARGETS).figure.data) == 1


def test_the_explained_row_is_framed_and_bold():
    layout = token_target_heatmap(shares(7), MARIN, TARGETS, explained=2).figure.layout
    assert (layout.shapes[0].y0, layout.shapes[0].y1) == (1.5, 2.5)
    assert [label.startswith("<b>") for label in layout.yaxis.ticktext] == [False, False, True, False, False]
    assert not token_target_heatmap(shares(7), MARIN, TARGETS, explained=None).figure.layout.shapes


def test_the_most_likely_token_is_the_top_row_and_probabilities_stand_beside():
    layout = token_target_heatmap(shares(7), MARIN, TARGETS, probabilities=[0.5, 0.2, 0.1, 0.04, 0.011]).figure.layout
    assert layout.yaxis.range[0] > layout.yaxis.range[1]
    assert layout.yaxis.ticktext[0] == "<b>·Golden  50.0%</b>"
    assert layout.yaxis.ticktext[-1].endswith("  1.1%")


def test_all_zero_shares_still_make_a_heat_map():
    cells = token_target_heatmap(np.zeros((2, 5)), ["a", "b"], TARGETS).figure.data[0]
    assert cells.zmin == -cells.zmax < 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="7 x 5"):
        token_target_heatmap(shares(7), MARIN[:3], TARGETS)
    with pytest.raises(ValueError, match="2 norms and 2 cosines for 1 tokens"):
        norms_and_cosines(np.ones(2), np.ones(2), ["a"])


def test_norms_stand_over_their_cosines_on_one_axis():
    norms, cosines = np.array([3.0, 1.0]), np.array([-0.25, 1.0])
    chart = norms_and_cosines(norms, cosines, ["a", "a"])
    above, below = chart.figure.data
    assert (list(above.y), list(below.y)) == ([3.0, 1.0], [-0.25, 1.0])
    assert list(above.x) == list(below.x) == [0, 1]
    assert chart.figure.layout.yaxis2.range[0] <= -1 < 1 <= chart.figure.layout.yaxis2.range[1]
    assert chart.figure.layout.yaxis.domain[0] > chart.figure.layout.yaxis2.domain[1]
    assert chart.table == {"position": [0, 1], "token": ["a", "a"], "norm": [3.0, 1.0], "cosine": [-0.25, 1.0]}


def test_float32_input_reaches_the_table_without_rounding():
    norms = np.array([0.1, 1 / 3], dtype=np.float32)
    assert norms_and_cosines(norms, norms, ["a", "b"]).table["norm"] == [float(v) for v in norms]
