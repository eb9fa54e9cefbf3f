import math

import numpy as np
import pytest

from eqlin_core.figures import waterfall
from eqlin_core.figures.palette import LOOKS
from eqlin_core.figures.waterfall_bars import DIFFERS

from .cases import MARIN, prompt


def parts(T: int, seed: int = 0) -> tuple[float, np.ndarray, float]:
    random = np.random.default_rng(seed)
    terms = random.normal(size=T) * np.exp(2 * random.normal(size=T))
    bias = float(random.normal())
    return bias, terms, math.fsum([bias, *terms])


@pytest.mark.parametrize("top", [None, 0, 1, 5, 40])
@pytest.mark.parametrize("T", [1, 7, 41, 42, 400])
def test_the_bars_lead_from_zero_over_the_bias_to_the_logit(T, top):
    bias, terms, total = parts(T)
    figure = waterfall(bias, terms, total, prompt(T), explained=" Golden", top=top).figure
    base, heights = np.array(figure.data[0].base), np.array(figure.data[0].y)
    assert (base[0], heights[0]) == (0.0, bias)
    assert (base[-1], heights[-1]) == (0.0, total)
    np.testing.assert_allclose(base[1:-1], (base + heights)[:-2], rtol=0, atol=1e-12 * np.abs(terms).sum())
    assert math.fsum(heights[:-1]) == pytest.approx(total, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("top", [1, 5, 40])
def test_the_largest_terms_keep_their_bars_in_the_order_of_the_prompt(top):
    T = 400
    bias, terms, total = parts(T)
    chart = waterfall(bias, terms, total, prompt(T), explained=" Golden", top=top)
    kept = sorted(np.argsort(-np.abs(terms))[:top])
    assert list(chart.figure.data[0].y[1:-2]) == list(terms[kept])
    assert chart.figure.layout.xaxis.ticktext[-2] == f"<i>{T - top} other tokens</i>"
    assert chart.figure.data[0].y[-2] == math.fsum(np.delete(terms, kept))
    assert f"{top} largest terms of {T}" in chart.figure.layout.xaxis.title.text


def test_a_single_other_token_is_shown_as_itself():
    bias, terms, total = parts(7)
    figure = waterfall(bias, terms, total, MARIN, explained=" Golden", top=6).figure
    assert len(figure.data[0].y) == 9
    assert not any("other" in label for label in figure.layout.xaxis.ticktext)


def test_the_table_has_every_term_and_the_running_sum_whatever_is_grouped():
    T = 50
    bias, terms, total = parts(T)
    table = waterfall(bias, terms, total, prompt(T), explained=" Golden", top=3).table
    assert table["term"] == [bias, *terms.tolist(), total]
    np.testing.assert_allclose(table["running_sum"][:-1], np.cumsum([bias, *terms]), atol=1e-10)
    assert table["running_sum"][-1] == total
    assert table["position"][1:-1] == list(range(T))
    assert sum(table["in_other_tokens"]) == T - 3


def test_parts_that_miss_the_logit_are_refused():
    bias, terms, total = parts(7)
    with pytest.raises(ValueError, match="differ by more than"):
        waterfall(bias, terms, total + 1e-3, MARIN, explained=" Golden")
    waterfall(bias, terms, total + 1e-3, MARIN, explained=" Golden", tolerance=1e-2)


def test_terms_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="nan"):
        waterfall(0.0, np.array([np.nan, 1.0]), 1.0, ["a", "b"], explained="c")


def test_terms_and_tokens_of_different_number_are_refused():
    with pytest.raises(ValueError, match="7 terms for 6 tokens"):
        waterfall(*parts(7), MARIN[:6], explained=" Golden")


def test_terms_for_and_against_have_the_two_poles_of_the_diverging_pair():
    figure = waterfall(0.0, np.array([2.0, -1.0]), 1.0, ["a", "b"], explained="c").figure
    look = LOOKS["light"]
    assert list(figure.data[0].marker.color[1:]) == [look.positive, look.negative, look.total]


def test_the_axis_names_what_is_explained():
    bias, terms, total = parts(7)
    one = waterfall(bias, terms, total, MARIN, explained=" Golden").figure
    two = waterfall(bias, terms, total, MARIN, explained=(" Golden", " most")).figure
    assert one.layout.yaxis.title.text == "logit of ·Golden"
    assert two.layout.yaxis.title.text == "logit of ·Golden − logit of ·most"
    assert (one.layout.xaxis.ticktext[-1], two.layout.xaxis.ticktext[-1]) == ("<i>logit</i>", "<i>difference</i>")


def test_all_zero_parts_still_make_a_figure():
    figure = waterfall(0.0, np.zeros(1), 0.0, ["a"], explained="c").figure
    assert figure.layout.yaxis.range[0] < 0 < figure.layout.yaxis.range[1]


def test_without_options_the_figure_is_what_it_was():
    bias, terms, total = parts(7)
    chart = waterfall(bias, terms, total, MARIN, explained=" Golden")
    figure = chart.figure.to_dict()
    assert figure["layout"]["uirevision"] == "waterfall:d568ba4f"
    assert [trace["name"] for trace in figure["data"]] == ["terms", "running sum"]
    assert set(figure["data"][0]["marker"]) == {"color", "line"}
    assert not {"xaxis2", "yaxis2", "shapes"} & set(figure["layout"])
    assert list(chart.table) == ["part", "position", "token", "term", "running_sum", "in_other_tokens"]


def test_another_target_names_the_axis_and_the_total_and_has_a_zoom_of_its_own():
    bias, terms, total = parts(7)
    target = "log-probability of ·Paris"
    logit = waterfall(bias, terms, total, MARIN, explained=" Paris").figure.layout
    other = waterfall(bias, terms, total, MARIN, explained=" Paris", target=target).figure.layout
    assert other.yaxis.title.text == target
    assert other.xaxis.ticktext[-1] == "<i>log-probability</i>"
    assert other.uirevision != logit.uirevision
    alone = waterfall(bias, terms, total, MARIN, target=target).figure.layout
    assert alone.yaxis.title.text == target
    with pytest.raises(ValueError, match="log-probability is"):
        waterfall(bias, terms, total + 1, MARIN, target=target)
    with pytest.raises(ValueError, match="what is explained"):
        waterfall(bias, terms, total, MARIN)


def test_what_a_target_is_called_is_not_read_as_markup():
    layout = waterfall(0.0, np.ones(1), 1.0, ["a"], target="<b> of %{x}").figure.layout
    assert layout.yaxis.title.text == "&lt;b&gt; of &#37;{x}"
    assert layout.xaxis.ticktext[-1] == "<i>&lt;b&gt;</i>"


@pytest.mark.parametrize("apart", [False, True])
def test_hatched_bars_say_why_at_the_bar_on_the_axis_and_in_the_table(apart):
    bias, terms, total = parts(7)
    chart = waterfall(bias, terms, total, MARIN, explained=" Golden", hatched=[0, 3], apart=apart)
    said = {}
    for trace in chart.figure.data:
        if trace.type == "bar":
            for text, shape in zip(trace.customdata, trace.marker.pattern.shape, strict=True):
                said[text.split("<br>")[0]] = (shape, DIFFERS in text)
    assert said["The  position 0"] == said["·of  position 3"] == ("/", True)
    assert sum(value == ("", False) for value in said.values()) == 5 + 2  # the other tokens, bias and total
    assert DIFFERS in chart.figure.layout.xaxis.title.text
    assert chart.table["differs"] == [False, True, False, False, True, *[False] * 4]


def test_a_position_that_is_not_there_cannot_be_hatched():
    with pytest.raises(ValueError, match="Position 7 is hatched, of 7 tokens"):
        waterfall(*parts(7), MARIN, explained=" Golden", hatched=[2, 7])
