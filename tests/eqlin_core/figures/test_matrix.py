from typing import Any

import numpy as np
import pytest

from eqlin_core.figures import (
    error_histogram,
    joint_spectrum,
    line_norms,
    matrix_heatmap,
    rank_dial,
    reconstruction_scatter,
    target_effects,
    top_tokens,
)

CELLS = np.array([[1.0, -2.0], [0.5, 4.0]], dtype=np.float32)


def heatmap(**changes):
    values: dict[str, Any] = {
        "token": " the",
        "position": 6,
        "limit": 3.0,
        "rows": (0, 4),
        "columns": (10, 13),
        "block": (2, 2),
    }
    return matrix_heatmap(CELLS, **(values | changes))


def test_a_cell_lies_in_the_middle_of_its_block_and_the_last_block_may_be_smaller():
    chart = heatmap()
    cells = chart.figure.data[0]
    assert list(cells.x) == [10.5, 12.0]
    assert list(cells.y) == [0.5, 2.5]
    assert chart.table["row"] == [0.5, 0.5, 2.5, 2.5]
    assert chart.table["value"] == [1.0, -2.0, 0.5, 4.0]


def test_rows_run_downwards_and_colours_are_centred_at_zero():
    figure = heatmap().figure
    assert list(figure.layout.yaxis.range) == [3.5, -0.5]
    assert (figure.data[0].zmin, figure.data[0].zmax) == (-3.0, 3.0)


def test_the_colour_bar_says_what_a_cell_is_and_where_colours_end():
    def title(**changes):
        return heatmap(**changes).figure.data[0].colorbar.title.text

    assert title() == "largest entry<br>of the block<br>(colours end<br>at ±3.00)"
    assert title(limit=5.0) == "largest entry<br>of the block"
    assert title(limit=5.0, block=(1, 1), rows=(0, 2), columns=(0, 2)) == "entry of Jᵢ"


def test_there_are_points_to_draw_a_box_over_and_no_spectrum_unless_given():
    names = [trace.name for trace in heatmap().figure.data]
    assert names == ["matrix", "handles"]
    assert [t.name for t in heatmap(sigma=np.array([3.0, 1.0])).figure.data] == ["matrix", "handles", "spectrum"]


@pytest.mark.parametrize("sigma", [[3.0, 1.5, 1.4], [7.0], [2.0, 2.0], [1e3, 1e-9], [5.0, 0.0, 0.0]])
def test_the_inset_names_both_ends_of_the_spectrum_whatever_its_range(sigma):
    figure = heatmap(sigma=np.array(sigma)).figure
    low, high = figure.layout.yaxis2.range
    ticks = np.log10(figure.layout.yaxis2.tickvals)
    assert len(ticks) == len(figure.layout.yaxis2.ticktext) >= 1, "an axis without a tick is not drawn"
    assert low < min(ticks)
    assert max(ticks) < high
    assert len(figure.data[2].y) == np.count_nonzero(sigma)


def test_a_token_without_a_spectrum_has_no_inset():
    assert len(heatmap(sigma=np.zeros(3)).figure.data) == 2


def test_cells_that_do_not_fit_their_window_and_a_limit_of_zero_are_refused():
    with pytest.raises(ValueError, match="for 2 blocks of rows and 5 of columns"):
        heatmap(columns=(0, 10))
    with pytest.raises(ValueError, match="above zero"):
        heatmap(limit=0.0)


def test_the_largest_lines_are_marked_and_numbers_do_not_lie_on_one_another():
    norms = np.arange(100.0)
    figure = line_norms(norms, norms, largest_columns=[99, 98, 40], largest_rows=[3], token="a", position=0).figure
    assert list(figure.data[1].x) == [99, 98, 40]
    assert list(figure.data[1].text) == ["99", "", "40"]
    assert list(figure.data[3].y) == [3.0]


def test_the_exact_reconstruction_lies_on_top_and_first_in_the_legend():
    y = np.array([1.0, 2.0])
    chart = reconstruction_scatter(y, {"detached": y, "ordinary": -y})
    assert [trace.name for trace in chart.figure.data] == ["equal", "ordinary", "detached"]
    assert chart.figure.data[-1].legendrank == 1
    assert chart.table == {"dimension": [0, 1], "output": [1.0, 2.0], "detached": [1.0, 2.0], "ordinary": [-1.0, -2.0]}


def test_every_dimension_is_counted_in_the_error_histogram_also_one_without_error():
    y = np.zeros(4)
    chart = error_histogram(y, {"detached": np.array([0.0, 1e-8, 1e-7, 1e-7]), "ordinary": np.ones(4)})
    detached, ordinary = chart.figure.data
    assert [sum(bars.y) for bars in (detached, ordinary)] == [4, 4]
    assert (detached.y[0], detached.y[-1], detached.customdata[-1]) == (1, 1, "exactly 0")
    assert detached.x[-1] < 1e-8, "the bar of errors of zero is left of all others"
    assert chart.table["detached"] == [0.0, 1e-8, 1e-7, 1e-7]
    assert [note.text for note in chart.figure.layout.annotations] == ["0"]
    assert not error_histogram(y, {"ordinary": np.ones(4)}).figure.layout.annotations
    assert [sum(bars.y) for bars in error_histogram(y, {"nothing": y}).figure.data] == [4]


def test_the_dial_marks_its_rank_and_the_rank_that_keeps_the_token():
    kl, p = np.array([4.0, 0.1, 0.01]), np.array([0.0, 0.2, 0.3])
    chart = rank_dial(kl, p, token=" only", true_chance=0.31, position=1, keeps=2)
    assert [(s.x0, s.line.dash) for s in chart.figure.layout.shapes if s.yref == "paper"] == [(2, "dot"), (1, "solid")]
    assert list(chart.figure.data[0].x) == [1, 2], "rank 0 has no place on a logarithmic axis"
    assert chart.table["kl_nats"] == [4.0, 0.1, 0.01]


def test_the_joint_spectrum_has_a_row_a_triplet_and_marks_one():
    weights = np.array([[0.9, 0.1], [0.4, 0.6], [0.0, 1.0]])
    chart = joint_spectrum(np.array([3.0, 2.0, 1.0]), weights, ["a", "b"], highlight=1)
    np.testing.assert_array_equal(np.array(chart.figure.data[0].z), weights)
    colours = list(chart.figure.data[1].marker.color)
    assert colours[0] == colours[2] != colours[1]
    assert chart.table["weight"] == weights.ravel().tolist()


def test_the_models_own_token_stands_out_among_the_most_likely():
    chart = top_tokens([(" most", 0.08), (" only", 0.07)], " only", "probability")
    first, second = chart.figure.data[0].marker.color
    assert first != second
    assert list(chart.figure.data[0].text) == ["8.00%", "7.00%"]


def test_effects_on_tokens_keep_their_order_and_sign():
    chart = target_effects([" a", " b"], np.array([-1.0, 2.0]))
    assert chart.table == {"target": [" a", " b"], "effect": [-1.0, 2.0]}
    assert list(chart.figure.data[0].x) == [-1.0, 2.0]
