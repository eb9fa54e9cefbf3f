"""The ranks and the joint spectrum of page Spectra on a tiny model: what is computed, shown and switched."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core.analysis.ranks import rank_run
from eqlin_core.runs.prompt import RunKey
from eqlin_core.runs.ranks import RankRun
from pages.triplets.rank_dial import sentence, stops
from tests.pages.tiny_cases import TinyEngine, opened, settled, tiny_engine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyEngine]:
    with tiny_engine(monkeypatch) as made:
        yield made


def headers(app: AppTest) -> list[str]:
    return [header.value for header in app.header]


def test_the_dial_starts_at_a_small_rank_and_says_which_one_keeps_the_top_token(engine: TinyEngine) -> None:
    app = opened("spectra", engine)
    predicted = rank_run(engine.lin, 6, every=True)
    assert app.select_slider(key="rank").value == 8
    assert any(f"**Rank {predicted.keeps}** is the smallest" in text.value for text in app.markdown)
    app.select_slider(key="rank").set_value(0)
    app.run()
    assert not app.exception
    assert any("every next token is equally likely" in text.value for text in app.info)


def test_only_the_open_tab_is_drawn_and_computed(engine: TinyEngine) -> None:
    app = opened("spectra", engine)
    assert "Singular values of every token's matrix" in headers(app)
    assert not any("triplet" in header.lower() and "few" not in header for header in headers(app))
    assert set(app.session_state["page_jobs"].jobs.snapshots) == {"ranks"}
    app = opened("spectra", engine, triplets_of="All tokens together")
    assert set(app.session_state["page_jobs"].jobs.snapshots) == {"ranks", "joint"}
    assert "Singular values of every token's matrix" not in headers(app)


def test_the_joint_matrix_can_be_cut_instead_and_is_inspected(engine: TinyEngine) -> None:
    app = opened("spectra", engine, triplets_of="All tokens together")
    before = [text.value for text in app.markdown]
    app.segmented_control(key="cut").set_value("all together")
    settled(app.run())
    predicted = rank_run(engine.lin, 6, joint=True, every=True)
    assert sentence(predicted) in [text.value for text in app.markdown]
    assert sentence(predicted) not in before
    assert any(header.startswith("Joint triplet 1, v on") for header in headers(app))


def ranks(best: list[str], keeps: int | None, width: int) -> RankRun:
    """A run whose most likely token at each rank is given; the true one is " only"."""
    n = len(best)
    top = [[(token, 0.5)] if token else [] for token in best]
    key = RunKey("made-up", "0", "float32", (1,), "up")
    return RankRun(key, False, width, np.zeros(n), np.zeros(n), np.full(n, 0.5), top, [(" only", 0.5)], keeps)


def test_the_sentence_says_from_which_rank_on_the_top_token_stays() -> None:
    said = sentence(ranks(["", " only", " most", " only", " only"], 3, 4))
    assert said.startswith("**Rank 3** is the smallest that keeps the top token `·only`")
    assert "up to the whole matrices" in said
    assert "Rank 1 is the first that has it on top, but not for good" in said
    said = sentence(ranks(["", " only", " only"], 1, 40))
    assert "up to rank 2, the largest computed" in said
    assert "not for good" not in said
    assert sentence(ranks(["", " only", " most"], None, 40)).startswith("No rank up to 2 keeps the top token `·only`")


def test_the_dial_stops_at_every_small_rank_and_at_the_one_that_decides() -> None:
    assert stops(ranks([" only"] * 33, 0, 32)) == list(range(33))
    long = stops(ranks([" only"] * 577, 341, 576))
    assert long[:49] == list(range(49))
    assert {340, 341, 576} <= set(long)
    assert len(long) < 130
