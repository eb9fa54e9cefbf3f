"""What deleting tokens does at one prompt, as the page gets it: against the engine's own numbers."""

from __future__ import annotations

import numpy as np
import pytest

import eqlin_core as eq
from eqlin_core.analysis.faithfulness import conventions_run, curves_run, hidden_run, leave_one_out_run
from eqlin_core.analysis.prompt import token_preview, token_run
from eqlin_core.attribution.deletion import Deleter
from eqlin_core.maps.targets import direction
from eqlin_core.runs.convention import Convention
from eqlin_core.runs.split import Split
from tests.cases import PROMPT, llama

T = len(PROMPT)


@pytest.fixture(scope="module")
def lin() -> eq.LinearMap:
    return eq.linearize(llama("affine"), token_ids=PROMPT, gated_path="half", attention="half")


def test_leave_one_out_knows_logits_log_probabilities_and_contrasts(lin: eq.LinearMap) -> None:
    run = leave_one_out_run(lin, [3, 9])
    logits, log_probabilities = Deleter(lin.lm, PROMPT, [3, 9]).leave_one_out()
    np.testing.assert_allclose(run.falls("logit", 9), logits[:, 1])
    np.testing.assert_allclose(run.falls("log-probability", 3), log_probabilities[:, 0])
    for kind in ("logit", "log-probability"):
        np.testing.assert_allclose(run.falls(kind, 3, 9), logits[:, 0] - logits[:, 1], atol=1e-9)
    assert run.key.attention == "half"


@pytest.mark.parametrize("kind", ["logit", "log-probability"])
def test_the_parts_of_what_freezing_hides_sum_to_what_was_measured(lin: eq.LinearMap, kind: str) -> None:
    run = hidden_run(lin, kind, 3)  # type: ignore[arg-type]
    np.testing.assert_allclose(sum(run.parts.values()), run.measured, atol=1e-9)
    falls = leave_one_out_run(lin, [3]).falls(kind, 3)  # type: ignore[arg-type]
    np.testing.assert_allclose(run.measured, falls, rtol=1e-4, atol=1e-4)
    terms, _ = lin.logit_split(direction(lin, 3, kind)[None], "mean")  # type: ignore[arg-type]
    np.testing.assert_allclose(run.parts["exact map"], terms[0], atol=1e-9)
    assert ("softmax" in run.parts) == (kind == "log-probability")


def test_curves_start_and_end_where_the_model_does(lin: eq.LinearMap) -> None:
    run = curves_run(lin, Split("log-probability"), 3)
    deleter = Deleter(lin.lm, PROMPT, [3])
    nothing, everything = deleter.measure([set(), set(range(T))])[1][:, 0].tolist()
    assert run.points[0] == 0
    assert run.points[-1] == T
    for name in ("exact split", "leave-one-out", "random"):
        assert run.deletion[name][[0, -1]] == pytest.approx([nothing, everything])
        assert run.insertion[name][[0, -1]] == pytest.approx([everything, nothing])
    order = np.argsort(-leave_one_out_run(lin, [3]).falls("log-probability", 3), kind="stable")
    n = run.points[2]
    expected = deleter.measure([set(order[:n].tolist())])[1][0, 0]
    assert run.deletion["leave-one-out"][2] == pytest.approx(float(expected))
    removed = curves_run(lin, Split("log-probability"), 3, "removal")
    assert 0 < min(removed.points) <= max(removed.points) < T


def test_every_map_sums_to_the_same_and_says_where_it_differs(lin: eq.LinearMap) -> None:
    maps = [Convention(), Convention("gate"), Convention("half", "half")]
    run = conventions_run(lin, maps, Split("logit", "mean"), 3, 9)
    total = float(direction(lin, 3, versus=9) @ lin.output)
    np.testing.assert_allclose(run.terms.sum(1) + run.constants, [total] * 3, rtol=1e-9)
    own, _ = lin.logit_split(direction(lin, 3, versus=9)[None], "mean")
    np.testing.assert_allclose(run.terms[2], own[0])
    differs = run.differs(Convention("half", "half"))
    for i in range(T):
        if len({tuple(np.sign(run.terms[:, i]))} & {(1, 1, 1), (-1, -1, -1)}) == 0:
            assert i in differs, "its sign is not the same in all"


@pytest.mark.parametrize("baseline", ["mean", 7])
def test_a_run_against_a_baseline_still_sums_to_the_output(lin: eq.LinearMap, baseline: str | int) -> None:
    run = token_run(lin, "", baseline=baseline)
    np.testing.assert_allclose(run.contributions.sum(0) + run.bias, run.output, rtol=1e-11)
    assert run.exactness is not None
    assert run.exactness.exact
    assert run.baseline == baseline
    plain = token_run(lin, "")
    assert not np.allclose(run.contributions, plain.contributions)
    assert plain.expected is not None
    w = run.targets[0].row - plain.expected
    np.testing.assert_allclose(w, direction(lin, run.targets[0].token_id, "log-probability"), rtol=1e-5, atol=1e-7)
    preview = token_preview(lin, "", baseline=baseline)
    for row in (run.targets[2].row, w):
        np.testing.assert_allclose(preview.split(row)[0], run.split(row)[0], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(preview.split(row)[1], run.split(row)[1], rtol=1e-6, atol=1e-7)
