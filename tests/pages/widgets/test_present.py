"""Present mode enlarges every text of a chart, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from eqlin_core import figures
from pages.widgets.present import LARGER, PRESENT, enlarged


@pytest.mark.parametrize("on", [True, False])
def test_every_text_of_a_chart_is_larger_while_it_is_on(on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlit.session_state", {PRESENT: on})

    def chart() -> figures.Chart:
        return figures.waterfall(1.0, np.array([2.0, -0.5]), 2.5, ["a", "b"], explained="c")

    before, after = chart().figure.to_dict(), enlarged(chart()).figure.to_dict()
    factor = LARGER if on else 1
    ticks = [figure["layout"]["xaxis"]["tickfont"]["size"] for figure in (before, after)]
    assert ticks[1] == round(ticks[0] * factor)
    assert before["data"][0]["y"] == after["data"][0]["y"]
    assert before["layout"]["height"] == after["layout"]["height"]
