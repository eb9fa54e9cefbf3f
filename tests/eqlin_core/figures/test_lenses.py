"""The ranks of a token in several read-outs: all are drawn, what is missing is a gap, and cosines are below."""

from __future__ import annotations

import numpy as np
import pytest

from eqlin_core.figures import lens_ranks, readout_table

RANKS = {"logit lens": np.array([900, 40, 2, 1]), "a <b> lens": np.array([-1, 7, 1, 1]), "map": np.array([2, 2, 1, 1])}
NAN = float("nan")
COSINES = {
    "logit lens": np.full(4, NAN),
    "a <b> lens": np.array([NAN, 0.2, -0.1, NAN]),
    "map": np.array([1.0, 1.0, 1.0, NAN]),
}


def test_every_read_out_has_its_line_and_a_missing_layer_is_a_gap() -> None:
    chart = lens_ranks(RANKS, COSINES, token=" only", exact="map", plain="logit lens")
    lines = {trace.name: trace for trace in chart.figure.data}
    assert set(lines) == {"logit lens", "a &lt;b&gt; lens", "map", "cosine, a &lt;b&gt; lens"}
    assert np.isnan(lines["a &lt;b&gt; lens"].y[0])
    assert lines["logit lens"].line.dash == "dot"
    assert lines["map"].line.width > lines["a &lt;b&gt; lens"].line.width
    low, high = chart.figure.layout.yaxis.range
    assert low > np.log10(900)
    assert high < 0, "rank 1 is on top"
    assert chart.table["rank"] == [900, 40, 2, 1, "", 7, 1, 1, 2, 2, 1, 1]
    assert chart.table["block"] == [0, 1, 2, 3] * 3
    assert chart.alternative == (
        "The rank of a token in every read-out of the stream, and how near lenses are to this map. Rank: logit lens: "
        "900 (after block 0), 40.0 (after block 1), 2.00 (after block 2); a <b> lens: 7.00 (after block 1), 1.00 "
        "(after block 2); map: 2.00 (after block 0), 2.00 (after block 1), 1.00 (after block 2). Cosine: 0.200 "
        "(after block 1), −0.100 (after block 2). In the model itself: rank 1."
    )
    assert chart.in_theme("dark").figure.layout.plot_bgcolor != chart.figure.layout.plot_bgcolor


def test_the_table_of_read_outs_says_in_words_what_the_lenses_read_before_the_model_itself() -> None:
    reads = [[["a", "b"], ["c"]], [["d"], ["e"]], [[" end"], [" end"]]]
    chart = readout_table(reads, np.zeros((3, 2)), ["logit lens", "map"], quantity="x", across="read through")
    assert chart.alternative == (
        "What the stream reads as after every block, as tokens. Read-outs at layer 1: logit lens as d, map as e. The "
        "model itself, layer 2: ·end."
    )
    assert chart.table["read_out"] == ["logit lens", "map"] * 3


def test_without_a_fitted_lens_there_are_no_cosines_to_draw() -> None:
    some = {name: RANKS[name] for name in ("logit lens", "map")}
    chart = lens_ranks(some, COSINES | {"other": np.zeros(4)}, token="x", exact="map", plain="logit lens")
    assert "yaxis2" not in chart.figure.layout
    assert len(chart.figure.data) == 2


def test_what_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        lens_ranks({}, {}, token="x", exact="map", plain="logit lens")
    with pytest.raises(ValueError, match="another number of layers"):
        lens_ranks(RANKS | {"short": np.array([2, 1, 1])}, {}, token="x", exact="map", plain="logit lens")
