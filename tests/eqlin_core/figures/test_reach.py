from typing import Any

import numpy as np
import pytest

from eqlin_core.figures import counterfactual, reach, reach_parts
from eqlin_core.figures.palette import LOOKS

T = np.array([0.0, 0.5, 1.0])
KL = np.array([0.0, 0.1, 2.0])
PARTS = {"map": np.array([0.0, 1.0, 2.0]), "gates": np.array([0.0, -0.5, -1.5])}
SWAPS = [(" cat", " dog"), (" the", " a")]
HIDDEN = {"attention": 0.5, "norms": 0.0, "gates": -2.0}


def swapped(**options):
    settings: dict[str, Any] = {"measured": 0.5, "measure": "logit of ·bay"}
    return counterfactual(SWAPS, [1, 4], np.array([3.0, -1.0]), HIDDEN, **(settings | options))


def test_dots_are_where_the_top_tokens_agree_and_a_line_where_they_first_do_not():
    chart = reach(T, KL, [" a", " a", " b"], [" a", " a", " c"], radius=0.7)
    line, same, other = chart.figure.data
    assert list(line.y) == KL.tolist()
    assert (list(same.x), list(other.x)) == ([0.0, 0.5], [1.0])
    assert other.customdata[0] == "t = 1<br>KL 2.00 nats<br>model ·c<br>map ·b"
    assert [shape.x0 for shape in chart.figure.layout.shapes] == [0.7]
    assert chart.figure.layout.annotations[0].text == "first seen to differ at t = 0.700"
    assert chart.table["same_top"] == [True, True, False]
    assert not reach(T, KL, ["a"] * 3, ["a"] * 3).figure.layout.shapes


def test_tokens_that_look_alike_may_be_two():
    assert reach(T, KL, ["a"] * 3, ["a"] * 3, agrees=[True, False, True]).table["same_top"] == [True, False, True]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_parts_are_stacked_and_sum_to_the_model(theme):
    chart = reach_parts(T, PARTS, measure="logit of ·bay", hidden=np.array([np.nan, 0.5, 0.25]), theme=theme)
    *bars, model = chart.figure.data
    assert [bar.name for bar in bars] == ["map", "gates"]
    assert bars[0].marker.color == LOOKS[theme].accent
    assert list(model.y) == chart.table["in_the_model"] == [0.0, 0.5, 0.5]
    assert "= map +1.00<br>+ gates −0.500" in bars[0].customdata[1]
    assert "lacks 50 &#37;" in bars[0].customdata[1]
    assert "lacks" not in bars[0].customdata[0]
    assert chart.table["hidden_share"][2] == 0.25


def test_the_swaps_and_what_freezing_hides_lead_to_what_was_measured():
    chart = swapped()
    bars = chart.figure.data[0]
    assert [base + y for base, y in zip(bars.base, bars.y, strict=True)] == [3.0, 2.0, 2.5, 2.5, 0.5, 0.5]
    assert chart.figure.layout.xaxis.ticktext[0] == "·cat→·dog"
    assert bars.customdata[1].startswith("·the → ·a  position 4<br>term −1.00")
    assert chart.table["part"] == ["map", "map", "attention", "norms", "gates", "in the model"]
    assert chart.table["running_sum"][-2:] == [0.5, 0.5]
    assert chart.alternative.endswith(
        "Swaps: 3.00 (·cat → ·dog), −1.00 (·the → ·a). Set free: 0.500 (attention), 0 (norms), −2.00 (gates). "
        "In the model: 0.500."
    )


def test_many_swaps_share_a_bar_and_all_are_in_the_table():
    chart = swapped(top=0)
    assert chart.figure.layout.xaxis.ticktext[0] == "<i>2 other tokens</i>"
    assert chart.figure.data[0].y[0] == 2.0
    assert chart.table["in_other_tokens"][:3] == [True, True, False]


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="they differ by more than"):
        swapped(measured=0.6)
    with pytest.raises(ValueError, match="2 parts for 2 swapped tokens at 1 positions"):
        counterfactual(SWAPS, [1], np.ones(2), HIDDEN, measured=0.5, measure="x")
    with pytest.raises(ValueError, match="3 fractions, 3 divergences and 2 most likely tokens"):
        reach(T, KL, ["a"] * 3, ["a"] * 2)
    with pytest.raises(ValueError, match="other lengths"):
        reach_parts(T, {}, measure="x")
