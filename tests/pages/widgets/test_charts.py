"""Charts on the pages: each has its main numbers in words, for people who do not see it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
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


def test_a_figure_for_a_paper_is_offered_once_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("EQLIN_CHROMIUM", str(program))
    app = AppTest.from_function(draw_chart).run(timeout=30)
    assert not app.code
    app.session_state["read-out-paper"] = True
    app.run()
    assert not app.exception
    assert app.code[0].value.startswith("What a singular triplet writes")
    assert len(app.get("download_button")) == 3
    monkeypatch.setenv("EQLIN_CHROMIUM", str(tmp_path / "none"))
    app.run()
    assert "install Chromium" in app.caption[-1].value
    assert len(app.get("download_button")) == 1
