"""What is shipped of the example prompts is what the product computes, and it is all there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import eqlin_core as eq
from eqlin_core.analysis.prompt import token_run
from eqlin_core.errors import EqlinError
from eqlin_core.runs.layers import SweepRun
from eqlin_core.runs.prompt import SpectrumRun
from pages.story.steps import NAMES
from pages.worker import analysis
from pages.worker import shipped as shipped_module
from pages.worker.engine import Engine
from pages.worker.models import Loaded, Models
from pages.worker.question import Question
from pages.worker.request import EXAMPLES, Request
from pages.worker.saved_analyses import SWITCH, SavedAnalyses
from pages.worker.shipped import SHIPPED, shipped, shipped_file, shipped_tokens, tokens_key
from tests.cases import default_model
from tests.make_examples import MAPS, MOST_BYTES
from tests.pages.plain_pages import PAGES, answer, fresh_engine, opened, views

# What is compared of an answer, by the question's name: what no rounding turns into something else.
COMPARED = {
    "spectra": ("S", "stable_rank", "projections"),
    "leave_one_out": ("logits", "log_probabilities"),
    "conventions": ("terms", "constants"),
    "ranks": ("chances", "error"),
    "joint": ("S", "stable_rank"),
    "matrix": ("whole.cells", "limit", "column_norms", "row_norms"),
    "reconstruction": ("output", "reconstructed"),
    "first": ("S", "stable_rank"),
    "heads": ("heads", "mlp", "total"),
    "guide": ("log_probability",),
    "grid": ("measured.concept", "measured.divergence", "control.concept", "forecast.real"),
}
LONG = ("spectra", "ranks", "first", "grid", "joint")
# What stands on a page that is whole, in one of its tabs or above them: its charts of what it asks for.
CHARTS: dict[str, set[str]] = {
    "start": set(),
    "tokens": {"waterfall", "leave-one-out", "other-maps"},
    "spectra": {"rank-tokens", "rank-chart", "singular-values", "effect", "joint-spectrum"},
    "matrix": {"heatmap-0-6-(0, 576)-(0, 576)", "line-norms-0", "reconstruction", "reconstruction-errors"},
    "layers": {"layer-table", "layer-spectra", "layer-path", "first-layers", "heads-table", "direct-layers"},
    "steering": {"steering-metrics", "steering-forecast", "depth-guide"},
    "compare": set(),
}
Asked = dict[tuple[Any, ...], Question[Any]]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """What the pages ask at their plain addresses; all are opened without a model, and stand."""
    with (
        pytest.MonkeyPatch.context() as patch,
        fresh_engine(tmp_path_factory.mktemp("nothing")) as engine,
    ):
        patch.setattr(Models, "load", no_model)
        for page in PAGES:
            charts = [stands(app) for app in views(page)]
            assert set().union(*charts) >= CHARTS[page]
        yield engine.noted


def no_model(*_: object) -> None:
    raise EqlinError("There is no model here.")


def stands(app: AppTest) -> set[str]:
    """The page says that it is shipped, and neither waits for anything nor missed it; its charts."""
    assert not app.exception, app.exception
    assert [e.value for e in app.error] == []
    assert not [text.value for text in (*app.caption, *app.info) if "appear" in text.value]
    assert any(f"shipped with {eq.__version__}" in html.proto.body for html in app.get("html")), "in the strip"
    return {str(chart.key) for chart in app.get("plotly_chart")}


def compare(request: Request) -> None:
    lin = eq.linearize(default_model("float32"), request.prompt, **request.convention.keywords)
    now, then = token_run(lin, request.prompt), shipped_tokens(request)
    assert then is not None
    assert then.key.token_ids == now.key.token_ids
    assert then.key.convention == request.convention
    assert then.tokens == now.tokens
    assert [t.token for t in then.targets] == [t.token for t in now.targets]
    size = np.linalg.norm(now.output)
    for name in ("contributions", "output", "bias", "inputs"):
        assert np.abs(getattr(then, name) - getattr(now, name)).max() <= 1e-3 * size, name
    assert then.exactness is not None
    assert then.exactness.exact


@pytest.mark.parametrize("convention", MAPS[1:], ids=lambda c: c.words)
def test_the_first_example_is_what_is_computed(convention: eq.Convention) -> None:
    compare(Request().by(convention))


@pytest.mark.slow
@pytest.mark.parametrize("convention", MAPS, ids=lambda c: c.words)
@pytest.mark.parametrize("prompt", EXAMPLES)
def test_every_example_is_what_is_computed(prompt: str, convention: eq.Convention) -> None:
    compare(Request(prompt).by(convention))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine with the default model."""
    with fresh_engine(tmp_path_factory.mktemp("own")) as made:
        made.models.loaded[Request().model, Request().dtype] = Loaded(default_model("float32"))
        yield made


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in COMPARED])
def test_what_the_pages_ask_for_is_shipped_as_it_is_computed(asked: Asked, engine: Engine, name: str) -> None:
    questions = [question for key, question in asked.items() if key[0].endswith(f".{name}")]
    assert questions
    for question in questions:
        now, then = answer(engine, question), shipped(question.key)
        assert type(then) is type(now)
        for path in COMPARED[name]:
            one: Any = now
            other: Any = then
            for part in path.split("."):
                one, other = getattr(one, part), getattr(other, part)
            if path.endswith("cells"):  # of the entries of a cell the largest: two of about one size change places
                one, other = np.abs(one), np.abs(other)
            assert np.abs(np.subtract(one, other)).max() <= 1e-3 * np.abs(one).max(), path


def test_every_step_of_the_story_stands_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Models, "load", no_model)
    with fresh_engine(tmp_path):
        charts: list[set[str]] = [set(), {"story-errors"}, {"story-waterfall"}, set()]
        for name, drawn in zip(NAMES, charts, strict=True):
            assert stands(app := opened("start", step=name)) == drawn
            assert app.session_state["step"] == name
        assert app.session_state["steering"].shown.complete


@pytest.mark.parametrize("page", [("start", NAMES[-1]), ("steering", "")], ids=lambda page: page[0])
def test_a_steering_grid_that_is_shipped_is_marked_whatever_the_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: tuple[str, str]
) -> None:
    monkeypatch.setattr(Models, "load", no_model)
    with fresh_engine(tmp_path):
        app = opened(page[0], prompt=EXAMPLES[1], **({"step": page[1]} if page[1] else {}))
        assert any(f"Shipped with eqlin {eq.__version__}" in caption.value for caption in app.caption)


def test_every_page_stands_without_a_model_and_asks_for_nothing_that_is_not_compared(asked: Asked) -> None:
    assert {key[0].rpartition(".")[2] for key in asked} == set(COMPARED)


def test_the_last_layers_maps_are_those_of_the_spectra() -> None:
    (file,) = SHIPPED.glob("first-*.npz")
    first, spectra = eq.load_run(file), shipped(analysis.spectra(Request()).key)
    assert isinstance(first, SweepRun)
    assert isinstance(spectra, SpectrumRun)
    np.testing.assert_allclose(first.S[-1, 0, :-1], spectra.S[:, :2], rtol=1e-3)
    np.testing.assert_allclose(first.stable_rank[-1, 0, :-1], spectra.stable_rank, rtol=1e-3)


def test_all_that_is_asked_for_is_shipped_nothing_else_is_and_it_takes_little_room(asked: Asked) -> None:
    wanted = {shipped_file(key) for key in (*asked, *(tokens_key(Request(prompt)) for prompt in EXAMPLES))}
    files = set(SHIPPED.glob("*.npz"))
    assert files == wanted
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES
    for prompt in EXAMPLES:
        for convention in MAPS:
            run = shipped_tokens(Request(prompt).by(convention))
            assert run is not None
            assert run.prompt == prompt
            assert run.key.convention == convention


def test_an_example_is_marked_and_one_s_own_run_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, str(tmp_path))
    saved = SavedAnalyses()
    run = saved.tokens(Request())
    assert run is not None
    assert (run.saved, run.shipped) == (True, eq.__version__)
    assert saved.shipped(analysis.spectra(Request())) is not None
    assert saved.tokens(Request("another prompt")) is None
    assert saved.tokens(Request(dtype="float64")) is None
    assert saved.tokens(Request(gated_path="gate")) is None
    own = shipped_tokens(Request())
    assert own is not None
    saved.keep("tokens", Request(), own)
    mine = saved.tokens(Request())
    assert mine is not None
    assert (mine.saved, mine.shipped) == (True, "")
    assert saved.shipped(analysis.spectra(Request())) is None, "the strip does not say that they are"


def test_another_question_than_the_pages_own_has_no_answer_that_is_shipped(asked: Asked, engine: Engine) -> None:
    from pages.matrices.jobs import matrix

    assert engine.shipped(matrix(Request(), 6), "ada") is not None
    for other in (matrix(Request(), 5), matrix(Request(dtype="float64"), 6), matrix(Request("another"), 6)):
        assert engine.shipped(other, "ada") is None


def test_a_damaged_answer_is_computed_and_none_is_shown_where_saved_runs_are_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pages.matrices.jobs import matrix

    question = matrix(Request(), 6)
    monkeypatch.setenv(SWITCH, "0")
    off = Engine()
    assert off.saved.tokens(Request()) is None
    assert off.shipped(question, "ada") is None
    monkeypatch.setenv(SWITCH, str(tmp_path / "own"))
    on = Engine()
    assert on.shipped(question, "ada") is not None
    monkeypatch.setattr(shipped_module, "SHIPPED", tmp_path)
    for key in (tokens_key(Request()), question.key):
        shipped_file(key).write_bytes(b"damaged")
    assert on.saved.tokens(Request()) is None
    assert on.shipped(question, "ada") is None
    for engine in (off, on):
        assert engine.worker.shutdown()
