"""What is shipped of the example prompts is what the product computes, and it is all there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import eqlin_core as eq
from eqlin_core.analysis.prompt import spectrum_run, token_run
from eqlin_core.runs.convention import PUBLISHED
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from pages.worker import saved_analyses
from pages.worker.analysis import KEPT_TRIPLETS
from pages.worker.request import DEFAULT_SPLIT, EXAMPLES, Request
from pages.worker.saved_analyses import SHIPPED, SWITCH, SavedAnalyses, shipped, shipped_file
from tests.cases import default_model
from tests.make_examples import MOST_BYTES

BY = (PUBLISHED, DEFAULT_SPLIT.convention)


def compare(request: Request) -> eq.LinearMap:
    lin = eq.linearize(default_model("float32"), request.prompt, **request.convention.keywords)
    now, then = token_run(lin, request.prompt), shipped("tokens", request)
    assert isinstance(then, TokenRun)
    assert then.key.token_ids == now.key.token_ids
    assert then.key.convention == request.convention
    assert then.tokens == now.tokens
    assert [t.token for t in then.targets] == [t.token for t in now.targets]
    size = np.linalg.norm(now.output)
    for name in ("contributions", "output", "bias", "inputs"):
        assert np.abs(getattr(then, name) - getattr(now, name)).max() <= 1e-3 * size, name
    assert then.exactness is not None
    assert then.exactness.exact
    return lin


def test_the_first_example_is_what_is_computed_and_so_are_its_spectra() -> None:
    for convention in reversed(BY):
        lin = compare(Request().by(convention))
    now, then = spectrum_run(lin, KEPT_TRIPLETS), shipped("spectra", Request())
    assert isinstance(then, SpectrumRun)
    np.testing.assert_allclose(then.S, now.S, rtol=1e-3)
    np.testing.assert_allclose(then.stable_rank, now.stable_rank, rtol=1e-3)
    assert then.reads_u[-1][0][0][0] == now.reads_u[-1][0][0][0]
    assert then.exactness.exact


@pytest.mark.slow
@pytest.mark.parametrize("convention", BY, ids=lambda c: c.words)
@pytest.mark.parametrize("prompt", EXAMPLES[1:])
def test_every_example_is_what_is_computed(prompt: str, convention: eq.Convention) -> None:
    compare(Request(prompt).by(convention))


def test_every_example_is_shipped_whole_and_all_take_little_room() -> None:
    wanted = {shipped_file("tokens", Request(prompt).by(convention)) for prompt in EXAMPLES for convention in BY}
    files = set(SHIPPED.glob("*.npz"))
    assert files == wanted | {shipped_file("spectra", Request())}
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES
    for prompt in EXAMPLES:
        for convention in BY:
            run = shipped("tokens", Request(prompt).by(convention))
            assert isinstance(run, TokenRun)
            assert run.prompt == prompt


def test_an_example_is_marked_and_one_s_own_run_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, str(tmp_path))
    saved = SavedAnalyses()
    run = saved.tokens(Request())
    assert run is not None
    assert (run.saved, run.shipped) == (True, eq.__version__)
    assert saved.spectra(Request()) is not None
    assert saved.tokens(Request("another prompt")) is None
    assert saved.tokens(Request(dtype="float64")) is None
    own = shipped("tokens", Request())
    assert isinstance(own, TokenRun)
    saved.keep("tokens", Request(), own)
    mine = saved.tokens(Request())
    assert mine is not None
    assert (mine.saved, mine.shipped) == (True, "")


def test_a_damaged_example_is_computed_and_none_is_shown_where_saved_runs_are_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "0")
    assert SavedAnalyses().tokens(Request()) is None
    monkeypatch.setattr(saved_analyses, "SHIPPED", tmp_path)
    shipped_file("tokens", Request()).write_bytes(b"damaged")
    assert shipped("tokens", Request()) is None
