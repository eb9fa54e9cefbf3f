"""Maps between places of the network: positions, blocks, what attention and the MLP add, and the final norm."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch

import eqlin_core as eq
from eqlin_core.models.sites import Site
from tests.cases import PROMPT, family, llama, relative, stock_outputs, stock_residual_stream

KINDS: tuple[Literal["attn", "mlp", "layer"], ...] = ("attn", "mlp", "layer")


def matrix(**options: Any) -> torch.Tensor:
    lm = options.pop("lm", None) or llama("affine")
    return eq.linearize(lm, token_ids=PROMPT, **options).jacobian()


def test_at_every_position_and_layer_the_frozen_network_agrees_with_the_stock_model() -> None:
    lm = llama("affine")
    frozen = eq.linearize(lm, token_ids=PROMPT).network.values
    torch.testing.assert_close(frozen.detach(), stock_outputs(lm, PROMPT), rtol=1e-5, atol=1e-6)
    for layer, stock in enumerate(stock_residual_stream(lm, PROMPT)):
        lin = eq.linearize(lm, token_ids=PROMPT, target=Site(layer, "layer"), final_norm=False)
        torch.testing.assert_close(lin.network.values.detach(), stock, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("position", [0, 4, -1])
def test_a_position_has_its_own_map_and_later_tokens_have_none_in_it(position: int) -> None:
    lm = llama("affine")
    lin = eq.linearize(lm, token_ids=PROMPT, position=position)
    assert lin.exactness().exact
    assert relative(lin.output, stock_outputs(lm, PROMPT)[position]) < 1e-6
    last = position % len(PROMPT)
    norms = lin.jacobian().flatten(1).norm(dim=1)
    assert (norms[: last + 1] > 0.01).all()
    assert (norms[last + 1 :] == 0).all()
    assert (lin.contributions()[last + 1 :].abs() < 1e-14).all()  # b may be rounded differently in a batch


def test_a_prefix_has_the_same_map_as_that_position_of_the_whole_prompt() -> None:
    whole = matrix(position=4)[:5]
    prefix = eq.linearize(llama("affine"), token_ids=PROMPT[:5]).jacobian()
    torch.testing.assert_close(whole, prefix, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("final_norm", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_an_inner_place_is_reconstructed_and_agrees_with_the_stock_model(kind: Any, final_norm: bool) -> None:
    lin = eq.linearize(llama("affine"), token_ids=PROMPT, target=Site(1, kind), final_norm=final_norm)
    lin.jacobian()
    assert lin.exactness().reconstruction < 1e-13
    assert lin.exactness().forward < 1e-6
    assert lin.exactness().exact


@pytest.mark.parametrize(
    "name", ["llama", "gpt2", "gpt_neox", "opt", "phi", "gemma3", "olmo2", "granite", "cohere2", "gpt_oss"]
)
@pytest.mark.parametrize("layer", [0, 2])
def test_input_and_attention_and_mlp_add_up_to_the_block(name: str, layer: int) -> None:
    lm = family(name)
    maps = {
        kind: eq.linearize(lm, token_ids=PROMPT, target=Site(layer, kind), final_norm=False, position=6)
        for kind in KINDS
    }
    if layer:
        below = eq.linearize(lm, token_ids=PROMPT, target=Site(layer - 1, "layer"), final_norm=False, position=6)
        matrix, value = below.jacobian(), below.output
        total, added = maps["layer"].jacobian() - matrix, maps["layer"].output - value
        parts = maps["attn"].jacobian() + maps["mlp"].jacobian()
        assert relative(parts, total) < 1e-12
        assert relative(maps["attn"].output + maps["mlp"].output, added) < 1e-12
    for kind in KINDS:
        assert maps[kind].exactness().exact, maps[kind].exactness()
        assert maps[kind].output.norm() > 1e-3
    assert relative(maps["attn"].output, maps["mlp"].output) > 0.1


def test_what_attention_and_the_mlp_add_is_what_their_modules_return_in_a_llama() -> None:
    lm = llama("affine")
    seen: dict[str, torch.Tensor] = {}
    block = lm.model.get_decoder().layers[1]
    for kind, module in {"attn": block.self_attn, "mlp": block.mlp}.items():

        def keep(m: Any, a: Any, out: Any, kind: str = kind) -> None:
            seen[kind] = (out[0] if isinstance(out, tuple) else out)[0]

        handle = module.register_forward_hook(keep)
        stock_outputs(lm, PROMPT)
        handle.remove()
        lin = eq.linearize(lm, token_ids=PROMPT, target=Site(1, kind), final_norm=False)  # type: ignore[arg-type]
        assert relative(lin.network.values.detach(), seen[kind]) < 1e-6


def test_maps_of_single_blocks_compose_to_the_map_of_all() -> None:
    """Block 1's layer map, summed over the positions it reads, after block 0's map of each of those positions."""
    lm = llama("affine")
    step = eq.linearize(lm, token_ids=PROMPT, source=Site(1, "input"), target=Site(1, "layer"), final_norm=False)
    assert step.exactness().exact
    composed: torch.Tensor | float = 0.0
    for position, block in enumerate(step.jacobian()):
        below = matrix(target=Site(0, "layer"), final_norm=False, position=position)
        composed = composed + block @ below
    assert isinstance(composed, torch.Tensor)
    assert relative(composed, matrix(target=Site(1, "layer"), final_norm=False)) < 1e-12


def test_the_source_of_a_layer_map_is_the_stock_input_of_that_block() -> None:
    lm = llama("affine")
    lin = eq.linearize(lm, token_ids=PROMPT, source=Site(2, "input"))
    assert relative(lin.inputs, stock_residual_stream(lm, PROMPT)[1]) < 1e-6
    lin.jacobian()
    assert lin.exactness().reconstruction < 1e-13
    assert relative(lin.output, stock_outputs(lm, PROMPT)[-1]) < 1e-6


def test_the_last_block_through_the_final_norm_is_the_output() -> None:
    last = eq.linearize(llama(), token_ids=PROMPT, target=Site(2, "layer"))
    output = eq.linearize(llama(), token_ids=PROMPT)
    assert relative(last.jacobian(), output.jacobian()) < 1e-12
    without = eq.linearize(llama(), token_ids=PROMPT, target=Site(2, "layer"), final_norm=False)
    assert relative(without.jacobian(), output.jacobian()) > 0.1


@pytest.mark.parametrize("kind", ["attn", "mlp", "layer"])
def test_replay_and_reverse_agree_at_inner_places(kind: Any) -> None:
    lin = eq.linearize(llama("affine"), token_ids=PROMPT, source=Site(1, "input"), target=Site(2, kind))
    basis = torch.eye(lin.inputs.numel(), dtype=torch.float64).view(-1, *lin.inputs.shape)
    columns = lin.apply(basis).T.reshape(lin.width, lin.n_tokens, lin.width)
    torch.testing.assert_close(lin.jacobian(), columns.transpose(0, 1), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": Site(3, "layer")}, "Block 3 does not exist: this model has blocks 0 to 2"),
        ({"target": Site(-1, "mlp")}, "Block -1 does not exist"),
        ({"source": Site(7, "input")}, "Block 7 does not exist"),
        ({"source": Site(1, "mlp")}, "A source is 'embedding' or the input of a block"),
        ({"target": Site(1, "input")}, "A target is 'output'"),
        ({"source": Site(2, "input"), "target": Site(1, "layer")}, "lies behind"),
        ({"target": "logits"}, "'logits' is no place"),
        ({"position": 11}, "Position 11 does not exist: the prompt has 11 tokens"),
        ({"position": -12}, "Position -12 does not exist"),
        ({"gated_path": "down"}, "gated_path is 'up', 'half', 'gate' or a share between 0 and 1, not 'down'"),
    ],
)
def test_a_place_that_does_not_exist_is_refused_in_one_sentence(options: Any, sentence: str) -> None:
    with pytest.raises(eq.EqlinError, match=sentence.replace("(", r"\(")):
        eq.linearize(llama(), token_ids=PROMPT, **options)
