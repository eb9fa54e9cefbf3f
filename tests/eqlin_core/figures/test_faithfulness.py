from typing import Any

import numpy as np
import pytest

from eqlin_core.figures import hidden_effects, leave_one_out
from eqlin_core.figures.palette import LOOKS, kind_colours

from .cases import MARIN, prompt

FALLS = np.array([2.0, -1.0, 0.5])
TERMS = np.array([-3.0, 10.0, 0.25])
PARTS = {
    "exact map": np.array([2.0, -1.0]),
    "attention": np.array([-0.5, -0.25]),
    "norms": np.array([0.25, 0.5]),
}
MEASURED = np.array([1.75, -0.75])


def effects(**changes):
    options: dict[str, Any] = {
        "parts": PARTS,
        "measured": MEASURED,
        "tokens": ["a", "b"],
        "measure": "log-probability of ·Paris",
    }
    return hidden_effects(**(options | changes))


def test_what_falls_without_a_token_is_for_and_what_rises_against():
    chart = leave_one_out(FALLS, ["a", "b", "a"], measure="log-probability of ·Paris", theme="dark")
    bars, look = chart.figure.data[0], LOOKS["dark"]
    assert len(chart.figure.data) == 1
    assert (list(bars.x), list(bars.y)) == ([0, 1, 2], FALLS.tolist())
    assert list(bars.marker.color) == [look.positive, look.negative, look.positive]
    assert chart.figure.layout.yaxis.title.text == "fall of the log-probability of ·Paris<br>without the token (nats)"
    assert bars.customdata[1] == "b  position 1<br>fall without it −1.00 nats"
    assert not chart.figure.layout.showlegend


def test_the_table_has_falls_and_terms_and_leaves_room_for_those_that_are_not_there():
    assert leave_one_out(FALLS, ["a", "b", "a"], terms=TERMS).table == {
        "position": [0, 1, 2],
        "token": ["a", "b", "a"],
        "fall": FALLS.tolist(),
        "term": TERMS.tolist(),
    }
    assert leave_one_out(FALLS, ["a", "b", "a"]).table["term"] == ["", "", ""]


@pytest.mark.parametrize("T", [16, 17])
def test_up_to_sixteen_bars_carry_their_number(T):
    bars = leave_one_out(np.arange(T) - 3.0, prompt(T)).figure.data[0]
    assert (bars.text or ())[:1] == (("−3.00",) if T == 16 else ())


@pytest.mark.parametrize("terms", [TERMS, -TERMS, np.array([0.1, 0.2, 0.3]), np.zeros(3)])
def test_both_zeros_coincide_and_everything_is_on_the_scales(terms):
    layout = leave_one_out(FALLS, ["a", "b", "c"], terms=terms).figure.layout
    (low, high), (term_low, term_high) = layout.yaxis.range, layout.yaxis3.range
    assert -low / (high - low) == pytest.approx(-term_low / (term_high - term_low))
    assert low < FALLS.min() < FALLS.max() < high
    assert term_low <= terms.min() <= terms.max() <= term_high
    assert layout.yaxis3.overlaying == "y"
    assert layout.yaxis3.tickmode == "auto", "ticks at round numbers, not where those of the falls are"


def test_markers_are_the_terms_and_the_legend_says_which_is_which():
    figure = leave_one_out(FALLS, ["a", "b", "c"], terms=TERMS).figure
    marker = figure.data[1]
    assert (list(marker.y), marker.yaxis, marker.marker.symbol) == (TERMS.tolist(), "y3", "diamond")
    assert marker.marker.color == LOOKS["light"].muted
    assert marker.customdata[0].endswith("<br>fall without it +2.00 nats<br>◆ exact term −3.00")
    assert [t.name for t in figure.data if t.showlegend is not False] == [
        "falls without the token",
        "rises without the token",
        "exact term, on its own scale",
    ]


def test_falls_of_all_zero_still_make_a_figure():
    low, high = leave_one_out(np.zeros(1), ["a"]).figure.layout.yaxis.range
    assert low < 0 < high


def test_falls_and_tokens_of_different_number_are_refused():
    with pytest.raises(ValueError, match="3 falls and 3 terms for 2 tokens"):
        leave_one_out(FALLS, ["a", "b"], terms=TERMS)
    with pytest.raises(ValueError, match="2 effects and parts of 2 for 7 tokens"):
        effects(tokens=MARIN)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_parts_are_stacked_in_order_with_the_measured_effect_over_them(theme):
    figure = effects(theme=theme).figure
    assert figure.layout.barmode == "relative"
    assert [trace.name for trace in figure.data] == ["exact map", "attention", "norms", "measured"]
    assert [trace.marker.color for trace in figure.data[:3]] == kind_colours(list(PARTS), theme)
    assert [list(trace.y) for trace in figure.data[:3]] == [values.tolist() for values in PARTS.values()]
    marker = figure.data[3]
    assert (list(marker.y), marker.marker.color) == (MEASURED.tolist(), LOOKS[theme].text)
    assert marker.customdata[0] == (
        "a  position 0<br>measured +1.75<br>= exact map +2.00<br>+ attention −0.500<br>+ norms +0.250"
    )
    assert figure.layout.legend.y > 1, "the legend is above the plot"


def test_the_table_of_effects_has_a_column_for_each_part():
    assert effects().table == {
        "position": [0, 1],
        "token": ["a", "b"],
        **{name: values.tolist() for name, values in PARTS.items()},
        "measured": MEASURED.tolist(),
    }


def test_parts_that_miss_the_measured_effect_are_refused():
    with pytest.raises(ValueError, match=r"position 1 the parts sum to -0\.75, measured is -0\.74"):
        effects(measured=MEASURED + np.array([0, 0.01]))
    effects(measured=MEASURED + np.array([0, 0.01]), tolerance=1e-2)
    with pytest.raises(ValueError, match="differ by more than"):
        effects(measured=np.array([1.75, np.nan]))


def test_parts_that_colours_cannot_tell_apart_are_refused():
    with pytest.raises(ValueError, match="7 parts; 1 to 6"):
        effects(parts={str(i): MEASURED / 7 for i in range(7)})
    with pytest.raises(ValueError, match="0 parts"):
        effects(parts={})
