"""A run holds plain arrays that say the same as the map they were taken from."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

import eqlin_core as eq
from eqlin_core.analysis.prompt import next_logits, spectrum_run, token_preview, token_run, typed_target
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from tests.cases import PROMPT as PROMPT_IDS
from tests.cases import family

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def lin(default_model_float32: eq.LanguageModel) -> eq.LinearMap:
    return eq.linearize(default_model_float32, PROMPT)


@pytest.fixture(scope="module")
def run(lin: eq.LinearMap) -> TokenRun:
    return token_run(lin, PROMPT)


@pytest.fixture(scope="module")
def spectra(lin: eq.LinearMap) -> SpectrumRun:
    return spectrum_run(lin, k=6)


def test_the_targets_are_the_models_own_top_predictions(run: TokenRun, lin: eq.LinearMap):
    logits = next_logits(lin.lm, lin.token_ids)
    assert [t.token_id for t in run.targets] == logits.topk(20).indices.tolist()
    assert run.targets[0].token == " Paris"
    assert run.targets[0].logit == pytest.approx(float(logits.max()), rel=1e-4)
    assert sum(t.probability for t in run.targets) < 1
    assert [t.probability for t in run.targets] == sorted((t.probability for t in run.targets), reverse=True)


@pytest.mark.parametrize("also", [[-1], [10**9]])
def test_what_else_is_explained_is_an_id_of_the_vocabulary(lin: eq.LinearMap, also: list[int]):
    with pytest.raises(eq.EqlinError):
        token_run(lin, PROMPT, also=also)


def test_the_parts_of_every_target_sum_to_its_logit(run: TokenRun):
    for target in run.targets:
        terms, bias, total = run.split(target.row)
        assert bias + terms.sum() == pytest.approx(total, abs=1e-4)
        assert total == pytest.approx(target.logit)


def test_norms_and_cosines_are_those_of_the_contributions(run: TokenRun):
    first = run.contributions[0]
    assert run.norms[0] == pytest.approx(np.linalg.norm(first))
    cosine = first @ run.output / np.linalg.norm(first) / np.linalg.norm(run.output)
    assert run.cosines[0] == pytest.approx(cosine)


def test_a_token_without_contribution_has_cosine_zero(run: TokenRun):
    silent = TokenRun(**{**run.__dict__, "contributions": np.zeros_like(run.contributions)})
    assert silent.cosines.tolist() == [0.0] * len(run.tokens)


def test_triplet_shares_are_parts_of_the_tokens_term(run: TokenRun, spectra: SpectrumRun, lin: eq.LinearMap):
    w = run.targets[0].row
    everything = spectrum_run(lin, k=lin.width)
    for token in range(len(run.tokens)):
        assert everything.shares(token, w).sum() == pytest.approx(run.contributions[token] @ w, abs=2e-3)
        assert spectra.shares(token, w) == pytest.approx(everything.shares(token, w)[:6], abs=2e-3)


def test_read_outs_have_a_row_for_every_triplet_of_every_token(run: TokenRun, spectra: SpectrumRun):
    assert [len(rows) for rows in spectra.reads_u] == [6] * len(run.tokens)
    assert [len(rows) for rows in spectra.reads_v] == [6] * len(run.tokens)
    best, score = spectra.reads_v[3][0][0]
    assert isinstance(best, str)
    assert 0 < score <= 1


def test_the_key_names_everything_the_numbers_depend_on(run: TokenRun, spectra: SpectrumRun, lin: eq.LinearMap):
    assert run.key == spectra.key
    assert run.key.token_ids == tuple(lin.token_ids)
    other = token_run(eq.linearize(lin.lm, PROMPT, gated_path="gate"), PROMPT)
    assert other.key != run.key


def test_a_typed_token_is_found_with_or_without_its_space(lin: eq.LinearMap):
    assert typed_target(lin, "London").token == " London"
    assert typed_target(lin, " London").token == " London"
    assert typed_target(lin, ",").token == ","


def test_what_is_not_one_token_is_refused_with_a_sentence(lin: eq.LinearMap):
    with pytest.raises(eq.EqlinError, match="not a single token"):
        typed_target(lin, "antidisestablishmentarianism")


def test_a_run_says_how_every_module_class_was_frozen(run: TokenRun):
    found = {(t.class_name, t.how): t.count for t in run.treatments}
    assert found["LlamaAttention", "attention weights held, values linear"] == 30
    assert found["LlamaMLP", "gate held whole, up linear"] == 30
    assert sum(n for (name, _), n in found.items() if name == "Linear") == 7 * 30


def test_a_run_survives_pickling(run: TokenRun):
    again = pickle.loads(pickle.dumps(run))
    assert again.treatments == run.treatments
    assert again.key == run.key


def test_runs_hold_no_tensor_and_no_model(run: TokenRun, spectra: SpectrumRun):
    for value in (*vars(run).values(), *vars(spectra).values()):
        assert not isinstance(value, torch.Tensor | eq.LanguageModel | eq.LinearMap)


def test_a_preview_splits_the_likely_tokens_logits_and_their_differences_exactly(
    run: TokenRun, lin: eq.LinearMap
) -> None:
    preview = token_preview(lin, PROMPT)
    assert not preview.complete
    assert preview.exactness is None
    assert [t.token for t in preview.targets] == [t.token for t in run.targets]
    first, last = run.targets[0].row, run.targets[-1].row
    for direction in (first, last, first - last):
        terms, bias, total = preview.split(direction)
        expected, _, _ = run.split(direction)
        np.testing.assert_allclose(terms, expected, atol=1e-4)
        assert terms.sum() + bias == pytest.approx(total, abs=1e-4)
    assert np.linalg.norm(preview.contributions - run.contributions) > 0.1 * np.linalg.norm(run.contributions)


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_a_mixture_of_experts_has_a_run_in_float64(name: str) -> None:
    lin = eq.linearize(family(name), token_ids=PROMPT_IDS)
    run = token_run(lin, "")
    terms, bias, total = run.split(run.targets[0].row)
    assert terms.sum() + bias == pytest.approx(total, rel=1e-10)
    assert run.exactness is not None
    assert run.exactness.exact
