import re

import numpy as np
import plotly.graph_objects as go
import pytest

from eqlin_core import figures
from eqlin_core.figures.alternative import describe

from .cases import MARIN, charts


@pytest.mark.parametrize("name", charts(1))
@pytest.mark.parametrize("T", [1, 7, 60])
def test_every_chart_is_said_in_words_with_its_numbers(T, name):
    chart = charts(T)[name]
    assert chart.alternative.startswith(chart.caption)
    said = chart.alternative.removeprefix(chart.caption)
    assert re.search(r"\d", said)
    assert "<br>" not in said
    assert "nan" not in said
    assert len(said) < 1000


def test_a_waterfall_is_its_bias_its_largest_terms_and_its_sum():
    terms = np.array([0.5, -2.0, 0.1, 0.2, 3.0, 0.0, 0.3])
    chart = figures.waterfall(1.0, terms, 3.1, MARIN, explained=" Golden")
    assert chart.alternative.endswith(
        "Bias: 1.00. Terms: 7 values, highest 3.00 (·Marin), lowest −2.00 (·bridge). Sum: 3.10."
    )


def test_a_heat_map_names_the_row_and_the_column_of_its_highest_and_lowest_cell():
    values = np.zeros((7, 2))
    values[4, 1], values[1, 0] = 2.0, -1.0
    said = figures.token_target_heatmap(values, MARIN, [" Golden", "<b>"], explained=0).alternative
    assert said.endswith(
        "Part of the logit in 2 × 7 cells: 14 values, highest 2.00 (<b>; ·Marin), lowest −1.00 (·Golden; ·bridge)."
    )


def test_of_a_few_values_all_are_said_and_of_many_lines_what_they_span():
    assert (
        "u through the unembedding: 2.00 (·Bay), 1.00 (⏎)."
        in figures.readout_bars([(" Bay", 2.0), ("\n", 1.0)]).alternative
    )
    S = np.arange(40.0, 0.0, -1.0).reshape(10, 4)
    said = figures.singular_values(S, [f" {i}" for i in range(10)]).alternative
    assert said.endswith("Singular value σₖ, 10 lines: 40 values, highest 40.0 (·0, 1), lowest 1.00 (·9, 4).")


def test_what_is_not_known_is_left_out():
    assert describe(go.Figure(data=[{"type": "scatter", "x": [1, 2], "y": [np.nan, None]}])) == ""
    curves = {"a": np.array([1.0, np.nan, 3.0])}
    said = figures.deletion_curves(curves, [0, 1, 2], measure="logit", kind="deletion").alternative
    assert said.endswith("Logit: 1.00 (0), 3.00 (2).")
