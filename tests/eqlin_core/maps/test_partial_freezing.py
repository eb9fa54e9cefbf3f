"""One freezing rule switched off breaks the reconstruction; all of them off leave the ordinary Jacobian."""

from __future__ import annotations

import pytest
import torch

import eqlin_core as eq
from eqlin_core.maps.partial_freezing import PARTS
from eqlin_core.runs.exactness import BOUNDS
from tests.cases import MARIN, PROMPT, default_model, family, llama, relative
from tests.eqlin_core.freezing.test_network import hooks

EVERY = tuple(PARTS)
# Each kind of norm, attention and gate once: experts, soft-capping, LayerNorm, activations without a gate.
KINDS = ("llama", "qwen3", "gemma2", "gpt2", "phi", "mixtral", "gpt_oss")


@pytest.mark.parametrize("name", KINDS)
def test_with_every_rule_on_it_is_the_detached_map(name: str) -> None:
    lin = eq.linearize(family(name), token_ids=PROMPT)
    part = eq.partly_frozen(lin)
    torch.testing.assert_close(part.contributions, lin.contributions(), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(part.jacobian(), lin.jacobian(), rtol=0, atol=0)
    assert part.reconstruction < 1e-13
    assert (part.exact, part.leaks, part.frozen) == (True, [], EVERY)


@pytest.mark.parametrize("name", KINDS)
def test_with_every_rule_off_it_is_the_ordinary_jacobian(name: str) -> None:
    lm = family(name)
    part = eq.partly_frozen(eq.linearize(lm, token_ids=PROMPT), ())
    ordinary = eq.ordinary_jacobian(lm, token_ids=PROMPT)
    assert relative(part.jacobian(), ordinary) < 1e-12
    expected = torch.einsum("toi,ti->to", ordinary, part.inputs)
    assert relative(part.contributions, expected) < 1e-5  # stock norms and softmax round to float32 in between
    assert part.frozen == ()


@pytest.mark.parametrize("rule", PARTS)
@pytest.mark.parametrize("name", KINDS)
def test_without_one_rule_the_sum_misses_the_output_and_the_audit_says_where(name: str, rule: str) -> None:
    lin = eq.linearize(family(name), token_ids=PROMPT)
    part = eq.partly_frozen(lin, set(EVERY) - {rule})
    assert part.reconstruction > 0.1
    assert relative(part.reconstructed, lin.output) == pytest.approx(part.reconstruction)
    assert not part.exact
    where = {"attention": "attn", "norms": "norm|ln_", "gates": "mlp|layers"}[rule].split("|")
    assert part.leaks
    assert all(any(w in leak for w in where) for leak in part.leaks), part.leaks


@pytest.mark.parametrize("rule", PARTS)
@pytest.mark.parametrize("variant", ["plain", "affine"])
def test_contributions_are_the_matrices_times_the_embeddings(variant: str, rule: str) -> None:
    part = eq.partly_frozen(eq.linearize(llama(variant), token_ids=PROMPT), set(EVERY) - {rule})
    expected = torch.einsum("toi,ti->to", part.jacobian(), part.inputs)
    assert relative(part.contributions, expected) < 1e-5
    assert bool(part.bias.any()) == (variant == "affine")


def test_the_chunk_size_changes_nothing() -> None:
    wide, narrow = (
        eq.partly_frozen(eq.linearize(llama(), token_ids=PROMPT, memory_budget=budget), ("norms",))
        for budget in (None, 1)
    )
    torch.testing.assert_close(narrow.contributions, wide.contributions, rtol=1e-12, atol=1e-12)


def test_it_leaves_no_trace_on_the_model_and_can_be_cancelled() -> None:
    lm = llama()
    before = lm.model.config._attn_implementation
    lin = eq.linearize(lm, token_ids=PROMPT)
    with pytest.raises(eq.Cancelled):
        eq.partly_frozen(lin, (), progress=lambda fraction, _: fraction < 0.5)
    assert lm.model.config._attn_implementation == before
    assert hooks(lm.model) == []
    assert lin.exactness().exact


@pytest.mark.parametrize("convention", ["up", "gate"])
def test_the_convention_of_the_map_is_kept(convention: str) -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT, gated_path=convention)
    part = eq.partly_frozen(lin, ("attention", "norms", "gates"))
    torch.testing.assert_close(part.contributions, lin.contributions(), rtol=1e-11, atol=1e-12)


def test_a_rule_that_does_not_exist_and_an_inner_place_are_refused() -> None:
    with pytest.raises(eq.EqlinError, match="no freezing rule 'softmax'; the rules are attention, norms, gates"):
        eq.partly_frozen(eq.linearize(llama(), token_ids=PROMPT), ("softmax",))
    inner = eq.linearize(llama(), token_ids=PROMPT, target=eq.Site(0, "layer"))
    with pytest.raises(eq.EqlinError, match="only for the map from the embeddings to the output"):
        eq.partly_frozen(inner, ("norms",))


def test_only_the_whole_freeze_reconstructs_the_default_model() -> None:
    lin = eq.linearize(default_model("float32"), MARIN)
    errors = {rules: eq.partly_frozen(lin, rules).reconstruction for rules in (EVERY, EVERY[1:], EVERY[::2], EVERY[:2])}
    assert errors.pop(EVERY) < BOUNDS["float32"][0]
    assert min(errors.values()) > 0.1, errors
    assert eq.partly_frozen(lin, ()).reconstruction > 0.1
