"""The code that pages hand out is of what they show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.tiny_cases import REQUEST, TinyEngine, opened, tiny_engine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyEngine]:
    with tiny_engine(monkeypatch) as made:
        yield made


def code(app: AppTest) -> str:
    (found,) = [block.value for block in app.code if "import eqlin_core" in block.value]
    compile(found, "page", "exec")
    return str(found)


@pytest.mark.parametrize(
    ("page", "lines"),
    [
        ("tokens", ["run.split(w)", "gated_path='half', attention='half'", "target = "]),
        ("spectra", ["k=24", "token = 4"]),
        ("matrix", ["token = 4", "('attention', 'norms', 'gates')"]),
    ],
)
def test_it_names_what_is_on_the_page(page: str, lines: list[str], engine: TinyEngine) -> None:
    assert not [block for block in opened(page, engine).code if "eqlin_core" in block.value], "nobody asked"
    said = code(opened(page, engine, code=True))
    assert f"prompt = {REQUEST.prompt!r}" in said
    for line in lines:
        assert line in said, (line, said)


def test_choices_change_it(engine: TinyEngine) -> None:
    said = code(opened("matrix", engine, code=True, hold_norms=False))
    assert "('attention', 'gates')" in said
