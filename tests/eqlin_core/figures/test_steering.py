import json

import numpy as np
import pytest

from eqlin_core.figures.steered_text import marked_html
from eqlin_core.figures.steering import depth_guide, steering_forecast, steering_metrics

X = np.linspace(0, 2, 21)


def metrics(**options):
    values = (-3 - X, X**2, np.exp(X))
    return steering_metrics(X, *values, **options)


def test_three_panels_over_the_strength_and_the_control_beside():
    chart = metrics(control=(-3 - 2 * X, X, np.exp(2 * X)), position=0.8, changes=[(0.35, " Great"), (1.2, " North")])
    steered = [t for t in chart.figure.data if t.name == "steered"]
    assert [t.yaxis for t in steered] == ["y", "y2", "y3"]
    np.testing.assert_array_equal(steered[1].y, X**2)
    assert len([t for t in chart.figure.data if t.name == "random operator"]) == 3
    assert [s.x0 for s in chart.figure.layout.shapes] == [0.8, 0.35, 1.2]
    assert [a.text for a in chart.figure.layout.annotations] == ["·Great", "·North"]
    assert chart.table["random_kl_from_unsteered"] == X.tolist()
    assert chart.to_csv().splitlines()[0].startswith("strength,concept_log_probability,")


def test_where_the_text_breaks_down_the_ground_is_tinted():
    assert [(s.x0, s.x1) for s in metrics(breaks_down=1.3).figure.layout.shapes] == [(1.3, 2.0)]
    assert len(metrics().figure.layout.shapes) == 0


def test_names_of_changes_that_lie_close_stand_in_rows_of_their_own():
    few, many = (metrics(changes=[(0.1 * i, f" token{i}") for i in range(1, n)]).figure.layout for n in (2, 20))
    rows = {a.yshift for a in many.annotations}
    assert len(many.annotations) == 19
    assert len(rows) > 1
    assert many.margin.t - few.margin.t == 15 * (len(rows) - 1)
    assert many.annotations[-1].xanchor == "right"


def test_a_missing_perplexity_leaves_a_gap():
    chart = steering_metrics(X[:2], np.zeros(2), np.zeros(2), np.array([1.0, np.nan]))
    assert np.isnan(chart.figure.data[2].y[1])
    json.loads(chart.figure.to_json())


def test_the_forecast_has_a_line_for_each_kind_and_token():
    real = np.stack([10 - X, 8 + X**2], axis=1)
    chart = steering_forecast(X, [" city", " Great"], real, real + 1, real - 1, linear_until=0.2)
    assert [t.name for t in chart.figure.data] == ["real", "frozen map", "derivative at 0"] * 2
    assert chart.figure.layout.shapes[0].x1 == 0.2
    assert [a.text for a in chart.figure.layout.annotations] == ["·city", "·Great"]
    assert len(chart.table["strength"]) == 42


def test_the_guide_marks_the_depth():
    chart = depth_guide([-3.0, -1.0, -0.1], [[(" a", 1.0)], [(" b", 1.0)], [(" c", 1.0)]], " c", depth=2)
    assert list(chart.figure.data[0].marker.size) == [5, 10, 5]
    assert chart.table["reads_as"] == [" a", " b", " c"]


def test_words_that_differ_are_marked_and_what_is_typed_is_no_markup():
    html = marked_html("Here <b>is</b>", " a red big house & tree", " a house & tree")
    assert '<mark class="eq-differs">red big</mark>' in html
    assert "&lt;b&gt;is&lt;/b&gt;" in html
    assert "house &amp; tree" in html
    assert "<mark" not in marked_html("x", " the same", " the same")
    assert "∎" in marked_html("x", " end\n", " end", ended=True)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="The forecast has shapes"):
        steering_forecast(X, ["a"], np.zeros((21, 2)), np.zeros((21, 2)), np.zeros((21, 2)))
    with pytest.raises(ValueError, match="1 read-outs for 2 depths"):
        depth_guide([0.0, 1.0], [[]], "a")
