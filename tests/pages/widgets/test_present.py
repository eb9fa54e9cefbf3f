"""Present mode enlarges every text of a chart, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from eqlin_core import figures
from pages.widgets.present import ON_A_WIDE_SCREEN, ON_THE_DESK, PRESENT, PRESENTED, WIDE, Scale, enlarged

some = np.random.default_rng(0).normal(size=(30, 8))
CHARTS: dict[str, Callable[[], figures.Chart]] = {
    "waterfall": lambda: figures.waterfall(1.0, np.array([2.0, -0.5]), 2.5, ["a", "b"], explained="c"),
    "histogram": lambda: figures.error_histogram(some[:, 0], {"a": some[:, 0] + 1e-6}, theme="dark"),
    "heat map": lambda: figures.heads_table(some, explained="x"),
}


@pytest.mark.parametrize(
    ("on", "wide", "expected"),
    [(False, True, ON_THE_DESK), (True, False, PRESENTED), (True, True, ON_A_WIDE_SCREEN)],
    ids=["desk", "presented", "wide"],
)
@pytest.mark.parametrize("name", CHARTS)
def test_every_text_of_a_chart_is_larger_while_it_is_on(
    name: str, on: bool, wide: bool, expected: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlit.session_state", {PRESENT: on, WIDE: wide})
    before, after = CHARTS[name](), enlarged(CHARTS[name]())
    assert after.alternative == before.alternative, "no number of it is touched"
    assert after.to_csv() == before.to_csv()
    was, now = before.figure.to_dict(), after.figure.to_dict()
    sizes = [figure["layout"]["xaxis"]["tickfont"]["size"] for figure in (was, now)]
    assert sizes[1] == round(sizes[0] * expected.text)
    assert now["layout"]["height"] == round(was["layout"]["height"] * expected.height)
