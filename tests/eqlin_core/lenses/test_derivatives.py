"""What a lens averages: derivatives of the untouched model, of one that holds norms, and the exact engine's maps."""

from __future__ import annotations

import pytest
import torch

import eqlin_core as eq
from eqlin_core.audit.architectures import tiny_architecture
from eqlin_core.audit.families import tiny_model
from eqlin_core.lenses.derivatives import adjoint_at
from eqlin_core.lenses.streams import recorded_stream
from tests.cases import relative
from tests.eqlin_core.lenses.lens_cases import PROMPTS, SKIP, detached, estimate, fitted, jacobian, shared

POSITIONS = ("future", "same", "last")
# LayerNorm with biases, grouped heads, norms of queries and keys, soft-capping with norms after attention and MLP.
NAMES = ("gpt2", "llama", "qwen3", "gemma2")
EVERY = [*((name, "future") for name in NAMES), ("gpt2", "same"), ("llama", "same"), ("llama", "last")]
TWO = PROMPTS[:2]


@pytest.mark.parametrize(("name", "positions"), EVERY)
def test_the_published_lens_is_the_mean_of_the_models_own_jacobians(name: str, positions: str) -> None:
    lens, lm = fitted("jacobian", name, positions, 2), detached(name, "jacobian")
    for layer in (0, lens.layers[-1]):
        expected = torch.stack([estimate(jacobian(lm, ids, layer), positions) for ids in TWO]).mean(0)
        assert relative(lens.matrices[layer], expected) < 1e-6


@pytest.mark.parametrize("kind", ["norms-frozen", "r-lens"])
@pytest.mark.parametrize("name", NAMES)
def test_what_a_kind_holds_is_what_detaching_it_in_the_models_code_holds(name: str, kind: str) -> None:
    lens, lm = fitted(kind, name, prompts=2), detached(name, kind)
    for layer in (0, lens.layers[-1]):
        expected = torch.stack([estimate(jacobian(lm, ids, layer), "future") for ids in TWO]).mean(0)
        assert relative(lens.matrices[layer], expected) < 1e-6
    assert relative(lens.matrices, fitted("jacobian", name, "future", 2).matrices) > 1e-2


def test_without_gated_products_the_r_lens_is_the_one_with_norms_frozen() -> None:
    assert torch.equal(fitted("r-lens", "gpt2").matrices, fitted("norms-frozen", "gpt2").matrices)
    assert relative(fitted("r-lens").matrices, fitted("norms-frozen").matrices) > 1e-2


@pytest.mark.parametrize(("name", "positions"), [*EVERY, ("mixtral", "future")])
def test_a_frozen_lens_is_the_mean_of_the_exact_engines_maps(name: str, positions: str) -> None:
    lm = shared(name)
    lens, last = fitted("frozen", name, positions, 2), lm.n_layers - 1
    for layer in (0, last - 1):
        found = []
        for ids in TWO:
            lin = eq.linearize(
                lm,
                token_ids=ids,
                source=eq.Site(layer + 1, "input"),
                target=eq.Site(last, "layer"),
                final_norm=False,
            )
            maps = [one.jacobian() for one in lin.positions(range(len(ids)))]  # of each target: [source, d, d]
            found.append(estimate(torch.stack(maps).transpose(1, 2), positions))
        assert relative(lens.matrices[layer], torch.stack(found).mean(0)) < 1e-6


@pytest.mark.parametrize("name", ["mamba2", "olmo_hybrid"])
def test_recurrent_models_have_lenses_of_every_kind(name: str) -> None:
    lm, ids = tiny_architecture(name), PROMPTS[0]
    last = lm.n_layers - 1
    frozen = eq.fit_lens(lm, [ids], "frozen", positions="last", layers=[1])
    lin = eq.linearize(lm, token_ids=ids, source=eq.Site(2, "input"), target=eq.Site(last, "layer"), final_norm=False)
    assert relative(frozen.matrices[0], lin.jacobian()[-1]) < 1e-6
    lens = eq.fit_lens(lm, [ids], "jacobian", positions="last", layers=[1])
    assert relative(lens.matrices[0], estimate(jacobian(lm, ids, 1), "last")) < 1e-5
    assert eq.fit_lens(lm, [ids], "r-lens", positions="last", layers=[1]).matrices.isfinite().all()


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_chunk_size_changes_nothing(positions: str) -> None:
    lm, ids = shared(), PROMPTS[:1]
    one, many = (
        eq.fit_lens(lm, ids, "frozen", positions=positions, skip=SKIP, memory_budget=budget) for budget in (1, None)
    )
    torch.testing.assert_close(one.matrices, many.matrices, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "mixtral"])
def test_the_last_positions_map_needs_no_other_position_where_attention_is_causal(name: str) -> None:
    stream = recorded_stream(shared(name), PROMPTS[0], "frozen")
    alone = stream.last_position()
    assert len(alone.values) == (len(PROMPTS[0]) if name == "mixtral" else 1)  # experts choose among all rows
    w = torch.randn(32, dtype=torch.float64)
    found, expected = (adjoint_at(one, [0, 1], len(one.values) - 1, w) for one in (alone, stream))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_a_model_whose_blocks_hand_on_no_stream_is_refused() -> None:
    lm = tiny_architecture("gemma3n_text")
    with pytest.raises(eq.EqlinError, match="does not hand on one vector for each token"):
        eq.fit_lens(lm, PROMPTS, "jacobian", skip=SKIP)


def test_a_lens_in_float32_is_that_of_float64_to_its_precision() -> None:
    lens = eq.fit_lens(tiny_model("llama", torch.float32), PROMPTS, "frozen", skip=SKIP)
    assert lens.dtype == "float32"
    assert 1e-9 < relative(lens.matrices, fitted("frozen").matrices) < 1e-4
