"""Charts on the pages: each has its main numbers in words, for people who do not see it."""

from __future__ import annotations

import ast
from pathlib import Path

from streamlit.testing.v1 import AppTest

PAGES = Path(__file__).resolve().parents[3] / "pages"


def draw_chart():
    from eqlin_core import figures
    from pages.widgets.charts import show

    show(figures.readout_bars([(" Bay", 2.0), (" Gate", 1.0)]), "read-out")


def test_a_chart_has_its_numbers_as_its_text_alternative() -> None:
    app = AppTest.from_function(draw_chart).run(timeout=30)
    assert not app.exception
    (chart,) = app.get("plotly_chart")
    assert chart.proto.alt.startswith("What a singular triplet writes and reads, as tokens.")
    assert "2.00 (·Bay), 1.00 (·Gate)" in chart.proto.alt


def test_no_page_draws_a_chart_without_its_text_alternative() -> None:
    drawn = [
        {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        for file in sorted(PAGES.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "st.plotly_chart"
    ]
    assert len(drawn) >= 2
    assert all(call.get("alt") == "chart.alternative" for call in drawn)
