"""Every decoder family by name: exact in float64 under both conventions, linear, audited, bounded below it."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

import eqlin_core as eq
from eqlin_core.audit.families import FAMILIES, WINDOW, tiny_model, tiny_prompt
from eqlin_core.freezing.network import RULES, FrozenNetwork
from eqlin_core.freezing.weights import FrozenWeights
from eqlin_core.maps import frozen_decoder
from eqlin_core.runs.convention import Convention
from eqlin_core.runs.exactness import BOUNDS
from tests.cases import FAMILY_NAMES, PROMPT, family, relative, stock_outputs

families = pytest.mark.parametrize("name", FAMILY_NAMES)
conventions = pytest.mark.parametrize("gated_path", ["up", "gate"])
EXPERTS = [name for name in FAMILY_NAMES if "num_experts_per_tok" in FAMILIES[name].options]
SLIDING = [
    name
    for name in FAMILY_NAMES
    if "sliding_window" in {**FAMILIES[name].options, **FAMILIES[name].options.get("text", {})}
]


@functools.cache
def linearized(name: str, gated_path: str) -> eq.LinearMap:
    lin = eq.linearize(family(name), token_ids=PROMPT, gated_path=gated_path)
    lin.jacobian()
    return lin


@conventions
@families
def test_the_map_is_exact(name: str, gated_path: str) -> None:
    lin = linearized(name, gated_path)
    exactness = lin.exactness()
    assert exactness.reconstruction < 1e-13
    assert exactness.leaks == []
    assert exactness.exact
    assert bool(lin.bias.any()) == FAMILIES[name].affine
    assert lin.gated_path == gated_path


@conventions
@families
def test_the_frozen_network_agrees_with_the_stock_model_at_every_position(name: str, gated_path: str) -> None:
    frozen = linearized(name, gated_path).network.values.detach()
    for value, stock in zip(frozen, stock_outputs(family(name), PROMPT), strict=True):
        assert relative(value, stock) < 2e-5  # the stock norms and softmax round to float32


@conventions
@families
def test_the_matrix_by_reverse_passes_is_the_matrix_by_replay(name: str, gated_path: str) -> None:
    lin = linearized(name, gated_path)
    basis = torch.eye(lin.inputs.numel(), dtype=torch.float64).view(-1, *lin.inputs.shape)
    columns = lin.apply(basis).T.reshape(-1, *lin.inputs.shape).transpose(0, 1)
    assert relative(columns, lin.jacobian()) < 1e-12


@conventions
@families
def test_on_any_other_input_the_held_coefficients_give_the_same_map(name: str, gated_path: str) -> None:
    lin = linearized(name, gated_path)
    other = family(name).model.get_input_embeddings()(torch.tensor(tiny_prompt(seed=9)))
    other = 3 * other + torch.randn(other.shape, dtype=torch.float64)
    moved = lin.network.replay(torch.stack([other, 2 * other, other + lin.inputs]))[:, -1]
    product = torch.einsum("toi,ti->o", lin.jacobian(), other)
    assert relative(moved[0] - lin.bias, product) < 1e-12
    assert relative(moved[1] - lin.bias, 2 * product) < 1e-12
    assert relative(moved[2] - moved[0], lin.output - lin.bias) < 1e-11


@pytest.mark.parametrize(
    "dials",
    [
        Convention("half", "half"),
        Convention(0.3, 0.7),
        *(pytest.param(one, marks=pytest.mark.slow) for one in (Convention("half"), Convention(0.7, 0.3))),
    ],
)
@families
def test_the_map_is_exact_at_other_settings_of_the_dials_and_its_two_passes_agree(name: str, dials: Convention) -> None:
    lin = eq.linearize(family(name), token_ids=PROMPT, **dials.keywords)
    exactness = lin.exactness()
    assert exactness.leaks == []
    assert exactness.reconstruction < 1e-13
    assert exactness.exact
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(lin.inputs.shape, generator=generator, dtype=torch.float64)
    u = torch.randn(lin.width, generator=generator, dtype=torch.float64)
    forward = lin.apply(v)
    assert abs(float(forward @ u - (lin.adjoint(u) * v).sum())) < 1e-13 * float(forward.norm() * u.norm())
    moved = lin.network.replay(3 * v[None] + lin.inputs)[0, -1]
    assert relative(moved - lin.output, 3 * forward) < 1e-12


@families
def test_the_two_conventions_are_two_maps_of_one_output_where_there_is_a_gate(name: str) -> None:
    up, gate = linearized(name, "up"), linearized(name, "gate")
    assert relative(gate.output, up.output) < 1e-12
    difference = relative(gate.jacobian(), up.jacobian())
    assert difference > 0.01 if FAMILIES[name].gated else difference == 0


@families
def test_every_kind_of_module_on_the_path_has_its_rule(name: str) -> None:
    rules = linearized(name, "up").network.rules.values()
    said = " ".join(rule.rule for rule in rules)
    kinds = ["attention weights held", "Norm, weight"]
    kinds += ["gate held whole, up linear"] if FAMILIES[name].gated else ["as s(x) x"]
    kinds += ["choice of experts held", "mixing weights held"] if name in EXPERTS else []
    for kind in kinds:
        n_layers = family(name).n_layers
        assert sum(kind in rule.rule for rule in rules) >= n_layers, f"{kind} not in: {said}"


@pytest.mark.parametrize("name", ["gemma3", "gemma2", "cohere2", "gpt_oss", "olmo3", "ministral", "gemma3-multimodal"])
def test_every_kind_of_layer_stands_three_times_in_a_tiny_model(name: str) -> None:
    kinds = family(name).text_config.layer_types
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"sliding_attention": 3, "full_attention": 3}


@pytest.mark.parametrize("name", SLIDING)
def test_a_token_outside_the_sliding_window_has_no_part_in_the_first_layer(name: str) -> None:
    lin = eq.linearize(family(name), token_ids=PROMPT, target=eq.Site(0, "layer"))
    parts = lin.contributions().norm(dim=-1)
    assert len(PROMPT) > 2 * WINDOW
    assert (parts[:-WINDOW] < 1e-14).all()  # not 0: b, subtracted from a batch, may be rounded differently there
    assert (parts[-WINDOW:] > 1e-3).all()
    assert lin.exactness().exact


@families
@pytest.mark.parametrize("position", [-1, pytest.param(5, marks=pytest.mark.slow)])
def test_contributions_from_replays_that_begin_late_are_the_same(name: str, position: int) -> None:
    """In chunks of one token, what stands before it is left out of the pass; and what stands after the position."""
    last = position == -1
    whole = linearized(name, "up") if last else eq.linearize(family(name), token_ids=PROMPT, position=position)
    small = eq.linearize(family(name), token_ids=PROMPT, position=position, memory_budget=1)
    assert small.network.causal is (name not in EXPERTS)
    torch.testing.assert_close(small.contributions(), whole.contributions(), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(small.bias, whole.bias, rtol=1e-11, atol=1e-12)
    assert small.exactness().exact


@families
def test_attention_of_a_tiny_model_is_not_uniform(name: str) -> None:
    """Otherwise freezing it at any value would pass."""
    weights: list[Tensor] = []
    keep = FrozenWeights.of_call

    def look(self: FrozenWeights, module: Any, compute: Any) -> Tensor:
        weights.append(keep(self, module, compute))
        return weights[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrozenWeights, "of_call", look)
        eq.linearize(family(name), token_ids=PROMPT)
    for layer in weights:
        last = layer[0, :, -1]
        assert (last.max(-1).values > 1.5 * last.sum(-1) / (last > 0).sum(-1)).float().mean() > 0.5


def without(rule: str, name: str, patch: pytest.MonkeyPatch) -> eq.LinearMap:
    patch.setattr(frozen_decoder, "FrozenNetwork", functools.partial(FrozenNetwork, rules=RULES - {rule}))
    return eq.linearize(family(name), token_ids=PROMPT)


@pytest.mark.parametrize(
    ("rule", "name"),
    [(rule, name) for rule in sorted(RULES) for name in FAMILY_NAMES if rule != "router" or name in EXPERTS],
)
def test_without_a_freezing_rule_the_reconstruction_breaks_and_the_audit_names_the_module(
    rule: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = family(name)
    exactness = without(rule, name, monkeypatch).exactness()
    assert exactness.reconstruction > 1e-4
    assert not exactness.exact
    modules = {name for name, _ in lm.model.named_modules()}
    leaking = {leak.partition(": ")[0] for leak in exactness.leaks}
    assert leaking
    assert leaking <= modules, "a leak is not named after a module"
    part = {"attention": "attn|attention", "norms": "norm|ln_", "gates": "mlp|layers", "router": "mlp"}[rule]
    assert all(any(p in module for p in part.split("|")) for module in leaking), leaking
    blocks = {module.split(".layers.")[-1].split(".h.")[-1].split(".")[0] for module in leaking}
    assert len(blocks - {"model", "gpt_neox"}) >= lm.n_layers, f"only in blocks {blocks}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
@families
def test_lower_precisions_are_exact_within_their_bounds(name: str, dtype: torch.dtype) -> None:
    exactness = eq.linearize(tiny_model(name, dtype), token_ids=PROMPT).exactness()
    reconstruction, forward = BOUNDS[exactness.dtype]
    assert exactness.leaks == []
    assert 0 < exactness.reconstruction < reconstruction
    assert 0 < exactness.forward < forward
    assert exactness.exact


def test_the_bounds_of_a_precision_are_near_its_rounding() -> None:
    for dtype, (reconstruction, forward) in BOUNDS.items():
        rounding = torch.finfo(getattr(torch, dtype)).eps
        assert 5 * rounding < reconstruction < 1000 * rounding
        assert reconstruction < forward


def test_the_language_model_of_a_multimodal_wrapper_is_the_one_that_is_linearized() -> None:
    lin = linearized("gemma3-multimodal", "up")
    assert type(lin.lm.model).__name__ == "Gemma3ForConditionalGeneration"
    assert all("vision" not in module for module in lin.network.rules)
    alone = tiny_model("gemma3")
    alone.model.load_state_dict(
        {
            k.replace("model.language_model.", "model."): v
            for k, v in lin.lm.model.state_dict().items()
            if "vision" not in k and "projector" not in k
        }
    )
    assert relative(eq.linearize(alone, token_ids=PROMPT).jacobian(), lin.jacobian()) < 1e-12


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(eq.EqlinError, match="There is no family 'gpt5'; choose one of llama, qwen3"):
        tiny_model("gpt5")
