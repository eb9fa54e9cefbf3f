"""Layers of models whose blocks mix positions otherwise: their parts are told by what they read."""

from __future__ import annotations

import pytest
import torch

import eqlin_core as eq
from eqlin_core.analysis.layers import heads_run, sweep_run
from eqlin_core.audit.architectures import tiny_architecture
from eqlin_core.layers.heads import direct_contributions
from tests.cases import PROMPT

DIVIDED = {
    "bloom": "softmax between modules",
    "falcon": "attention added to the MLP in place, side by side",
    "falcon_h1": "attention and a state space in one part",
    "qwen3_next": "delta rules and attention in turn",
    "gpt_neox_japanese": "a bias added on its own",
}
WHOLE = {
    "mamba": "a state space and no MLP",
    "rwkv": "an MLP that reads the position before",
    "longcat_flash": "two attentions and two MLPs in one block",
    "openai-gpt": "norms that take the sum in",
}


@pytest.mark.parametrize("model_type", DIVIDED)
@pytest.mark.parametrize("mode", ["cumulative", "layerwise"])
def test_a_block_of_a_mixer_and_an_mlp_has_maps_of_both(model_type: str, mode: str) -> None:
    run = sweep_run(eq.linearize(tiny_architecture(model_type), token_ids=PROMPT), mode)
    assert run.kinds == ("layer", "attn", "mlp")
    assert run.errors.max() < 1e-13
    assert run.exact


@pytest.mark.parametrize("model_type", WHOLE)
def test_other_blocks_have_maps_as_a_whole(model_type: str) -> None:
    lin = eq.linearize(tiny_architecture(model_type), token_ids=PROMPT)
    run = sweep_run(lin, "cumulative")
    assert run.kinds == ("layer",)
    assert run.errors.max() < 1e-13
    with pytest.raises(eq.EqlinError, match="choose the kind 'layer'"):
        eq.layer_sweep(lin.lm, token_ids=PROMPT)


@pytest.mark.parametrize("model_type", ["qwen3_next", "falcon"])
def test_the_parts_are_those_of_the_map_to_a_place(model_type: str) -> None:
    lm = tiny_architecture(model_type)
    sweep = eq.layer_sweep(lm, token_ids=PROMPT, final_norm=False, k=2)
    for i, site in enumerate((eq.Site(1, "layer"), eq.Site(1, "attn"), eq.Site(1, "mlp"))):
        lin = eq.linearize(lm, token_ids=PROMPT, target=site, final_norm=False)
        torch.testing.assert_close(sweep.values[1, i], lin.output, rtol=1e-9, atol=1e-9)
        largest = torch.linalg.svdvals(lin.jacobian()[4])[:2]
        torch.testing.assert_close(sweep.triplets.S[1, i, 4], largest, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("model_type", ["zamba", "gemma4_text"])
def test_a_block_that_reads_more_than_its_input_has_no_map_of_its_own(model_type: str) -> None:
    lin = eq.linearize(tiny_architecture(model_type), token_ids=PROMPT)
    assert sweep_run(lin, "cumulative").errors.max() < 1e-13
    with pytest.raises(eq.EqlinError, match="reads more than what the block before it hands on"):
        sweep_run(lin, "layerwise")


@pytest.mark.parametrize(
    ("model_type", "why"),
    [
        ("bloom", "computes its attention outside"),
        ("mamba", "by a recurrence"),
        ("qwen3_next", "by a recurrence"),
        ("longcat_flash", "more than one"),
    ],
)
def test_without_attention_by_heads_there_is_no_split_over_them(model_type: str, why: str) -> None:
    with pytest.raises(eq.EqlinError, match=f"{why}.*no split over heads"):
        heads_run(eq.linearize(tiny_architecture(model_type), token_ids=PROMPT), (1, 2))


def test_blocks_that_share_values_are_not_accumulated_forward() -> None:
    with pytest.raises(eq.EqlinError, match="take method='reverse'"):
        eq.layer_sweep(tiny_architecture("gemma4_unified_text"), token_ids=PROMPT, method="forward")


def test_heads_of_a_model_that_runs_one_row_at_a_time_sum_to_the_logit() -> None:
    lin = eq.linearize(tiny_architecture("jetmoe"), token_ids=PROMPT)
    parts = direct_contributions(lin, lin.lm.unembedding[:3].to(lin.output))
    torch.testing.assert_close(parts.summed(), parts.total, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(parts.heads.sum(2), parts.attn, rtol=1e-9, atol=1e-9)


def test_a_model_without_a_final_norm_is_read_as_it_is() -> None:
    lm = tiny_architecture("bart")
    through, plain = (
        eq.linearize(lm, token_ids=PROMPT, target=eq.Site(3, "layer"), final_norm=norm) for norm in (True, False)
    )
    torch.testing.assert_close(through.output, plain.output)
    torch.testing.assert_close(through.output, eq.linearize(lm, token_ids=PROMPT).output)
