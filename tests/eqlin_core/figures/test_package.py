import ast
import sys
import time
from pathlib import Path

import pytest

from eqlin_core import figures

from .cases import charts

SOURCES = sorted(Path(next(iter(figures.__path__))).glob("*.py"))


def test_figures_import_neither_torch_nor_streamlit_nor_pandas():
    allowed = {"plotly", "numpy", "jaxtyping"}
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] in allowed | sys.stdlib_module_names, f"{source.name} imports {name}"
                assert name != "plotly.express"


def test_every_public_name_is_there():
    assert all(hasattr(figures, name) for name in figures.__all__)


@pytest.mark.slow
def test_a_short_prompts_charts_are_built_within_a_blink():
    _seconds()  # the first call pays for Plotly's lazy imports
    best = min(_seconds() for _ in range(5))
    assert best / len(charts(10)) < 0.05


def _seconds() -> float:
    start = time.perf_counter()
    charts.__wrapped__(10)
    return time.perf_counter() - start
