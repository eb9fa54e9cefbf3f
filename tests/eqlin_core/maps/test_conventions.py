"""The family of exact maps: at every setting of both dials the engine's map is that of an independent derivation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import eqlin_core as eq
from eqlin_core.layers.heads import direct_contributions
from eqlin_core.layers.sweep import layer_sweep
from eqlin_core.runs.convention import PUBLISHED, Convention, settings
from tests.cases import PROMPT, default_model, llama, relative
from tests.eqlin_core.maps.llama_by_hand import LlamaByHand

SETTINGS = [
    Convention(a, c) for a, c in ((0, 0), (1, 0), (0.5, 0), (0, 0.5), (0.5, 0.5), (0, 1), (0.3, 0.7), (0.7, 0.3))
]
settings_of_both = pytest.mark.parametrize("dials", SETTINGS, ids=lambda dials: dials.words)
EXACT = 1e-13


def by_hand(variant: str, dials: Convention) -> LlamaByHand:
    return LlamaByHand(llama(variant), list(PROMPT), dials.gate_share, dials.weight_share)


@settings_of_both
@pytest.mark.parametrize("variant", ["grouped", "affine"])
def test_the_map_is_that_of_plain_autograd(variant: str, dials: Convention) -> None:
    J, y, b = by_hand(variant, dials).map()
    lin = eq.linearize(llama(variant), token_ids=PROMPT, **dials.keywords)
    assert lin.exactness().exact
    assert lin.exactness().reconstruction < EXACT
    assert relative(lin.output, y) < 1e-7  # the rotary table is made in float32
    tolerance = 1e-6 * float(J.norm())
    torch.testing.assert_close(lin.jacobian(), J, rtol=0, atol=tolerance)
    torch.testing.assert_close(lin.contributions(), torch.einsum("tij,tj->ti", J, lin.inputs), rtol=0, atol=tolerance)
    torch.testing.assert_close(lin.bias, b, rtol=0, atol=tolerance)


@settings_of_both
def test_apply_adjoint_and_matrix_are_one_map(dials: Convention) -> None:
    lin = eq.linearize(llama("affine"), token_ids=PROMPT, **dials.keywords)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(3, *lin.inputs.shape, generator=generator, dtype=torch.float64)
    u = torch.randn(3, lin.width, generator=generator, dtype=torch.float64)
    forward, reverse = lin.apply(v), lin.adjoint(u)
    torch.testing.assert_close(torch.einsum("bd,bd->b", forward, u), torch.einsum("btd,btd->b", v, reverse))
    torch.testing.assert_close(forward, torch.einsum("toi,bti->bo", lin.jacobian(), v))


@settings_of_both
def test_spectra_are_those_of_the_map_by_hand(dials: Convention) -> None:
    J, _, _ = by_hand("grouped", dials).map()
    found = eq.spectrum(eq.linearize(llama(), token_ids=PROMPT, **dials.keywords), k=3)
    torch.testing.assert_close(found.S, torch.linalg.svdvals(J)[:, :3], rtol=1e-5, atol=1e-7)


@settings_of_both
def test_heads_are_what_each_head_by_hand_writes(dials: Convention) -> None:
    reference = by_hand("grouped", dials)
    lin = eq.linearize(llama(), token_ids=PROMPT, **dials.keywords)
    w = torch.randn(1, lin.width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = direct_contributions(lin, w)
    torch.testing.assert_close(found.summed(), found.total)
    final = reference.run(reference.inputs)[1][-1][-1]
    norm = reference.decoder.norm
    looking = w[0] * norm.weight * torch.rsqrt(final.square().mean() + norm.variance_epsilon)
    for layer, block in enumerate(reference.decoder.layers):
        heads = reference.config.num_attention_heads
        by_head = (looking @ block.self_attn.o_proj.weight).view(heads, -1)  # what each head's mixed values are read by

        def written(x: torch.Tensor, layer: int = layer, by_head: torch.Tensor = by_head) -> torch.Tensor:
            return (reference.run(x)[2][layer][-1] * by_head).sum(-1)  # heads

        rows = torch.autograd.functional.jacobian(written, reference.inputs)  # heads, T, d
        expected = torch.einsum("htd,td->ht", rows, reference.inputs)
        torch.testing.assert_close(found.heads[0, layer], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("mode", ["cumulative", "layerwise"])
def test_a_sweep_of_live_attention_goes_by_reverse_passes_and_is_exact(mode: str) -> None:
    dials = Convention("half", "half")
    sweep = layer_sweep(llama(), token_ids=PROMPT, mode=mode, k=2, **dials.keywords)
    assert sweep.method != "forward"
    assert (sweep.gated_path, sweep.attention) == ("half", "half")
    assert float(sweep.errors.max()) < EXACT
    if mode == "cumulative":
        reference = by_hand("grouped", dials)
        J = torch.autograd.functional.jacobian(lambda x: reference.run(x)[1][1][-1], reference.inputs).transpose(0, 1)
        sweep = layer_sweep(llama(), token_ids=PROMPT, k=2, final_norm=False, **dials.keywords)
        layer = sweep.kinds.index("layer")
        torch.testing.assert_close(sweep.triplets.S[1, layer], torch.linalg.svdvals(J)[:, :2], rtol=1e-5, atol=1e-7)


def test_forward_accumulation_is_refused_where_attention_is_live() -> None:
    with pytest.raises(eq.EqlinError, match="held attention weights"):
        layer_sweep(llama(), token_ids=PROMPT, method="forward", attention=0.2)


def test_chunks_and_other_positions_change_nothing() -> None:
    dials = Convention(0.3, 0.7).keywords
    for position in (2, -1):
        whole = eq.linearize(llama("affine"), token_ids=PROMPT, position=position, **dials)
        small = eq.linearize(llama("affine"), token_ids=PROMPT, position=position, memory_budget=1, **dials)
        assert not small.network.causal, "an earlier position has a constant of its own"
        torch.testing.assert_close(small.contributions(), whole.contributions(), rtol=1e-11, atol=1e-12)
        assert small.exactness().exact


@pytest.mark.parametrize("dials", settings(gated=True)[1:], ids=lambda dials: dials.words)
def test_the_real_model_is_exact_at_every_setting(dials: Convention) -> None:
    lin = eq.linearize(default_model("float64"), "The capital of France is", **dials.keywords)
    found = lin.exactness()
    assert found.exact
    assert found.reconstruction < EXACT


def test_settings_tell_opposite_stories_of_the_same_logit() -> None:
    lm = default_model("float32")
    parts = {}
    for dials in (PUBLISHED, Convention("gate")):
        lin = eq.linearize(lm, "The capital of France is", **dials.keywords)
        paris = int((lm.unembedding @ lin.output).argmax())
        terms, bias = lin.logit_split(lm.unembedding[[paris]])
        parts[dials.gated_path] = terms[0, 3].item()
        assert float(terms.sum() + bias) == pytest.approx(17.37, abs=0.01)
    assert parts["up"] == pytest.approx(0.17, abs=0.01)
    assert parts["gate"] == pytest.approx(7.39, abs=0.01)


# ---- what a setting is called ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((0, 0), ("up", "held")),
        ((1.0, "live"), ("gate", "live")),
        (("0.5", 0.5), ("half", "half")),
        ((0.3, "0.7"), (0.3, 0.7)),
    ],
)
def test_a_number_that_has_a_name_becomes_it(given: tuple, named: tuple) -> None:
    found = Convention(*given)
    assert (found.gated_path, found.attention) == named
    assert Convention(**found.keywords) == found


@pytest.mark.parametrize("wrong", ["down", -0.1, 1.1, float("nan"), True, ""])
@pytest.mark.parametrize("dial", ["gated_path", "attention"])
def test_anything_else_is_refused_by_a_sentence(dial: str, wrong: Any) -> None:
    with pytest.raises(eq.EqlinError, match=f"{dial} is .* or a share between 0 and 1"):
        eq.linearize(llama(), token_ids=PROMPT, **{dial: wrong})


def test_words_name_the_setting() -> None:
    assert [c.words for c in settings(gated=True)] == [
        "up", "gate", "half", "half, attention half", "0.3, attention 0.7", "0.7, attention 0.3",
    ]  # fmt: skip
    assert [c.words for c in settings(gated=False)] == [
        "up",
        "up, attention half",
        "up, attention 0.7",
        "up, attention 0.3",
    ]
