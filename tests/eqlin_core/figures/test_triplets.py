from typing import Any

import numpy as np
import pytest

from eqlin_core.figures import readout_bars, triplet_effect
from eqlin_core.figures.palette import LOOKS

SIGMA, PROJECTIONS, SHARES = np.array([4.0, 2.0]), np.array([-0.5, 0.25]), np.array([1.5, -0.125])


def effect(**changes):
    given: dict[str, Any] = {"token": " bridge", "position": 1, "explained": " Golden"} | changes
    return triplet_effect(SIGMA, PROJECTIONS, SHARES, **given)


def test_the_effect_of_a_triplet_is_sigma_times_projection():
    chart = effect()
    assert list(chart.figure.data[0].y) == [-2.0, 0.5]
    assert chart.table["effect"] == [-2.0, 0.5]
    assert list(chart.figure.data[0].x) == [1, 2]


def test_with_the_whole_term_the_shares_sum_to_it():
    chart = effect(term=2.0)
    assert chart.table["k"] == ["1", "2", "rest"]
    assert sum(chart.table["term"]) == 2.0
    assert chart.table["term"][-1] == 0.625
    assert list(chart.figure.data[1].y) == [1.5, -0.125, 0.625]
    assert chart.figure.layout.xaxis.ticktext[-1] == "rest"


def test_effects_for_and_against_have_different_colours():
    look = LOOKS["dark"]
    assert list(effect(theme="dark").figure.data[0].marker.color) == [look.negative, look.positive]


def test_the_highlighted_triplet_counts_from_one():
    colours = effect(highlight=2).figure.data[1].marker.color
    assert colours[1] == LOOKS["light"].negative
    assert colours[0] != LOOKS["light"].positive


def test_the_axes_name_token_position_and_explained_token():
    layout = effect(explained=(" Golden", " most")).figure.layout
    assert layout.xaxis.title.text == "singular triplet k of ·bridge (position 1)"
    assert layout.yaxis2.title.text.endswith("logit of ·Golden − logit of ·most")


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises((ValueError, TypeError)):  # jaxtyping's own while it checks the shapes
        triplet_effect(np.ones(2), np.ones(3), np.ones(1), token="a", position=0, explained="b")


def test_u_and_v_are_read_out_side_by_side_best_on_top():
    chart = readout_bars([(" Highway", 8.0), (" Link", 6.0)], [(" bridge", 0.7)])
    left, right = chart.figure.data
    assert (list(left.x), list(left.y), list(right.x)) == ([8.0, 6.0], [1, 2], [0.7])
    layout = chart.figure.layout
    assert layout.xaxis.domain[1] < layout.xaxis2.domain[0]
    assert layout.yaxis.range == layout.yaxis2.range == (2.5, 0.5)
    assert list(layout.yaxis.ticktext) == ["·Highway", "·Link"]
    assert chart.table == {
        "vector": ["u", "u", "v"],
        "rank": [1, 2, 1],
        "token": [" Highway", " Link", " bridge"],
        "score": [8.0, 6.0, 0.7],
    }


def test_u_alone_takes_the_whole_width():
    assert readout_bars([("a", 1.0)]).figure.layout.xaxis.domain == (0, 1)


def test_the_numbers_of_u_stay_clear_of_the_tokens_of_v():
    figure = readout_bars([("a", 8.0), ("b", 2.0)], [("c", 1.0)]).figure
    assert figure.data[0].textposition == "auto"
    assert figure.layout.xaxis2.domain[0] - figure.layout.xaxis.domain[1] > 0.2
    low, high = readout_bars([("a", 8.0), ("b", -2.0)]).figure.layout.xaxis.range
    assert low < -2
    assert high > 8


def test_an_empty_read_out_is_an_empty_figure():
    chart = readout_bars([])
    assert not chart.figure.data
    assert chart.to_csv() == "vector,rank,token,score\n"
