import math

import numpy as np
import pytest

from eqlin_core.figures import leave_one_out, waterfall
from eqlin_core.figures.apart import panels
from eqlin_core.figures.waterfall_bars import CUT

from .cases import MARIN, prompt

SINK = np.array([14.0, 0.5, -0.25, 1.0, 0.125, -2.0, 0.75])


def drawn(bias: float = 0.5, terms: np.ndarray = SINK, **options):
    total = math.fsum([bias, *terms])
    return waterfall(bias, terms, total, prompt(len(terms)), explained=" Golden", apart=True, **options)


def test_bias_and_first_token_stand_in_a_panel_of_their_own():
    figure = drawn().figure
    main, alone = (trace for trace in figure.data if trace.type == "bar")
    assert (alone.xaxis, alone.yaxis) == ("x2", "y2")
    assert (list(alone.base), list(alone.y)) == ([0.0, 0.5], [0.5, 14.0])
    assert list(figure.layout.xaxis2.ticktext) == ["<i>bias</i>", "The"]
    assert figure.layout.xaxis2.domain[1] < figure.layout.xaxis.domain[0]
    low, high = figure.layout.yaxis2.range
    assert low < 0
    assert 14.5 < high < 16
    assert main.base[0] == 14.5, "the others go on from the running sum"
    assert list(figure.layout.xaxis.ticktext[:-1]) == ["·bridge", "·out", "·of", "·Marin", "·is", "·the"]
    np.testing.assert_array_equal(main.y[:-1], SINK[1:])


def test_the_others_have_a_scale_without_zero_and_the_total_says_that_it_is_cut():
    figure = drawn().figure
    main = figure.data[0]
    low, high = figure.layout.yaxis.range
    assert 12 < low < min(main.base[:-1]) < 16 < high < 17
    assert main.base[-1] == low
    assert main.base[-1] + main.y[-1] == pytest.approx(14.625)
    assert main.customdata[-1] == f"logit 14.6<br>{CUT}"
    assert figure.layout.annotations[6].text == "14.6"
    assert len(figure.layout.shapes) == 1


def test_a_sum_below_zero_hangs_from_the_end_that_is_nearer_to_zero():
    figure = drawn(-0.5, -SINK).figure
    assert figure.data[0].base[-1] == figure.layout.yaxis.range[1] < 0
    assert figure.data[0].base[-1] + figure.data[0].y[-1] == pytest.approx(-14.625)


def test_where_zero_is_on_the_scale_the_total_begins_there_and_is_not_cut():
    figure = drawn(0.5, np.array([0.5, -2.0, 3.0, 0.5])).figure
    assert figure.layout.yaxis.range[0] < 0 < figure.layout.yaxis.range[1]
    assert figure.data[0].base[-1] == 0.0
    assert CUT not in figure.data[0].customdata[-1]
    assert not figure.layout.shapes


def test_the_first_token_is_never_among_the_others():
    terms = np.append(0.001, np.random.default_rng(0).normal(size=59))
    chart = drawn(0.0, terms, top=40)
    assert chart.table["in_other_tokens"][1] is False
    assert sum(chart.table["in_other_tokens"]) == 19
    assert "40 largest terms of the other 59" in chart.figure.layout.xaxis.title.text
    assert chart.figure.data[0].y[-2] == pytest.approx(
        sum(t for t, other in zip(chart.table["term"], chart.table["in_other_tokens"], strict=True) if other)
    )
    assert [a.text for a in chart.figure.layout.annotations] == [
        f"{terms.sum():.2f}".replace("-", "−"),
        "0",
        "+1.00e−3".replace("e−", "e-"),
    ]


@pytest.mark.parametrize("T", [1, 2])
def test_with_fewer_than_three_tokens_nothing_stands_apart(T):
    total = float(SINK[:T].sum())
    plain, apart = (
        waterfall(0.0, SINK[:T], total, prompt(T), explained="c", apart=apart).figure for apart in (False, True)
    )
    assert apart == plain
    plain, apart = (leave_one_out(SINK[:T], prompt(T), terms=SINK[:T], apart=apart).figure for apart in (False, True))
    assert "xaxis2" not in apart.to_dict()["layout"]
    assert apart.data == plain.data


def test_the_table_is_the_same_and_the_zoom_another_one():
    whole = waterfall(0.5, SINK, 14.625, MARIN, explained=" Golden")
    assert drawn().table == whole.table
    assert drawn().figure.layout.uirevision != whole.figure.layout.uirevision


@pytest.mark.parametrize("rest", [2, 7, 40, 400])
@pytest.mark.parametrize("apart", [1, 2])
def test_the_left_panel_is_narrow_but_never_too_narrow_for_its_labels(apart, rest):
    left, right = panels(apart, rest)
    assert left[0] == 0
    assert right[1] == 1
    assert 0.07 <= left[1] <= 0.25
    assert right[0] - left[1] == pytest.approx(0.1)


def test_what_is_deleted_first_stands_apart_with_the_number_of_its_term():
    figure = leave_one_out(SINK / 7, MARIN, terms=SINK, apart=True).figure
    bars, _, _, _, _, alone, marker = figure.data
    np.testing.assert_allclose(bars.y, SINK[1:] / 7)
    assert (list(alone.y), alone.xaxis, alone.yaxis) == ([2.0], "x2", "y2")
    assert (list(marker.text), marker.xaxis, marker.yaxis) == (["+14.0"], "x2", "y4")
    assert figure.layout.yaxis.range[1] < 1
    assert figure.layout.yaxis2.range[1] > 2
    assert "position 1<" in bars.customdata[0]
    long = leave_one_out(np.ones(60), prompt(60), apart=True).figure
    assert long.layout.xaxis.labelalias["0"] == "1 ·bridge", "positions are those of the prompt"
