"""The sweep over layers: exact maps to every place, the same by forward accumulation and by reverse passes."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch

import eqlin_core as eq
from eqlin_core.layers import sweep
from eqlin_core.layers.blocks import OpenNetwork
from eqlin_core.layers.cost import sweep_cost
from eqlin_core.layers.maps import forward_maps
from eqlin_core.layers.results import KINDS
from eqlin_core.layers.sweep import Early, cost_of, sweep_map
from tests.cases import PROMPT, family, llama, relative

Kind = Literal["attn", "mlp", "layer"]
SWEPT = ["llama", "gpt2", "gemma3", "qwen3_moe", "phi", "olmo2", "gpt_oss"]
METHODS: tuple[Literal["forward", "reverse"], ...] = ("forward", "reverse")


def opened(name: str = "llama", **options: Any) -> OpenNetwork:
    return OpenNetwork(eq.linearize(family(name), token_ids=PROMPT, **options))


def jacobian(lm: eq.LanguageModel, layer: int, kind: Kind, **options: Any) -> torch.Tensor:
    return eq.linearize(lm, token_ids=PROMPT, target=eq.Site(layer, kind), **options).jacobian()


@pytest.mark.parametrize("name", SWEPT)
def test_forward_accumulation_gives_the_reverse_passes_matrices_at_every_layer(name: str) -> None:
    lm = family(name)
    for layer, maps in enumerate(forward_maps(opened(name), columns=lm.width)):
        for kind in KINDS:
            assert relative(maps[kind], jacobian(lm, layer, kind, final_norm=False)) < 1e-12, (layer, kind)  # type: ignore[arg-type]


def test_forward_accumulation_stops_at_the_explained_position() -> None:
    lm = family("llama")
    for layer, maps in enumerate(forward_maps(opened(position=4), columns=lm.width)):
        assert relative(maps["mlp"], jacobian(lm, layer, "mlp", final_norm=False, position=4)) < 1e-12
        assert (maps["layer"][5:] == 0).all()


def test_the_number_of_columns_at_a_time_changes_nothing() -> None:
    net = opened()
    for whole, parts in zip(forward_maps(net, columns=32), forward_maps(net, columns=5), strict=True):
        for kind in KINDS:
            torch.testing.assert_close(parts[kind], whole[kind], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("mode", ["cumulative", "layerwise"])
@pytest.mark.parametrize("name", SWEPT)
def test_the_sweep_holds_the_spectra_of_every_layer_and_kind(name: str, mode: Any) -> None:
    lm = family(name)
    sweep = eq.layer_sweep(lm, token_ids=PROMPT, mode=mode, k=3)
    assert sweep.exact
    assert sweep.errors.shape == (lm.n_layers, 3)
    assert float(sweep.errors.max()) < 1e-13
    for layer in (0, lm.n_layers - 1):
        for place, kind in enumerate(sweep.kinds):
            source = "embedding" if mode == "cumulative" else eq.Site(layer, "input")
            lin = eq.linearize(lm, token_ids=PROMPT, source=source, target=eq.Site(layer, kind))  # type: ignore[arg-type]
            for joint, found in ((False, sweep.triplets), (True, sweep.joint)):
                expected = eq.spectrum(lin, k=3, joint=joint)
                torch.testing.assert_close(found.S[layer, place], expected.S, rtol=1e-11, atol=1e-12)
                torch.testing.assert_close(found.stable_rank[layer, place], expected.stable_rank, rtol=1e-11, atol=0)
            assert relative(sweep.values[layer, place], lin.output) < 1e-12


@pytest.mark.parametrize("final_norm", [True, False])
def test_both_methods_give_the_same_triplets(final_norm: bool) -> None:
    found = [
        eq.layer_sweep(llama("affine"), token_ids=PROMPT, k=4, final_norm=final_norm, method=method)
        for method in METHODS
    ]
    assert [sweep.method for sweep in found] == list(METHODS)
    torch.testing.assert_close(found[0].S, found[1].S, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(found[0].U[..., 0], found[1].U[..., 0], rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(found[0].joint.Vh[..., 0, :], found[1].joint.Vh[..., 0, :], rtol=1e-8, atol=1e-9)


def test_the_arrays_have_the_documented_shapes() -> None:
    lm = family("llama")
    L, T, d = lm.n_layers, len(PROMPT), lm.width
    sweep = eq.layer_sweep(lm, token_ids=PROMPT, kinds=("mlp", "layer"), k=5)
    assert sweep.kinds == ("mlp", "layer")
    assert sweep.U.shape == (L, 2, T, d, 5)
    assert sweep.S.shape == (L, 2, T, 5)
    assert sweep.Vh.shape == (L, 2, T, 5, d)
    assert sweep.stable_rank.shape == (L, 2, T)
    assert sweep.joint.U.shape == (L, 2, d, 5)
    assert sweep.joint.Vh.shape == (L, 2, 5, T * d)
    assert sweep.joint.stable_rank.shape == (L, 2)
    assert sweep.triplets.u_ids.shape == (L, 2, T, 5, 8)
    assert sweep.joint.v_scores.shape == (L, 2, 5, 8)
    assert sweep.values.shape == (L, 2, d)
    assert sweep.y_ids.shape == (L, 2, 8)


def test_u_points_along_the_value_and_what_v_finds_is_its_projection() -> None:
    lm = llama("affine")
    sweep = eq.layer_sweep(lm, token_ids=PROMPT, k=3)
    assert (torch.einsum("lctdk,lcd->lctk", sweep.U, sweep.values) >= 0).all()
    x = eq.linearize(lm, token_ids=PROMPT).inputs
    torch.testing.assert_close(sweep.triplets.projections, torch.einsum("lctkd,td->lctk", sweep.Vh, x))
    cosines = sweep.triplets.projections / x.norm(dim=-1)[:, None]
    torch.testing.assert_close(sweep.triplets.cosines, cosines)
    assert float(cosines.abs().max()) <= 1


def test_the_last_layer_is_the_output() -> None:
    lm = llama("affine")
    sweep = eq.layer_sweep(lm, token_ids=PROMPT, k=2)
    expected = eq.spectrum(eq.linearize(lm, token_ids=PROMPT), k=2)
    torch.testing.assert_close(sweep.S[-1, 0], expected.S, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(sweep.stable_rank[-1, 0], expected.stable_rank, rtol=1e-11, atol=1e-12)


def test_triplets_are_read_out_as_tokens() -> None:
    lm = family("llama")
    sweep = eq.layer_sweep(lm, token_ids=PROMPT, k=3)
    (u,) = eq.read_output(lm, sweep.U[1, 2, 4, :, 1], k=8)
    assert [t for t, _ in sweep.read_u(1, "mlp", 4, triplet=1)] == [t for t, _ in u]
    (v,) = eq.read_input(lm, sweep.Vh[2, 0, 4, 0], k=8)
    assert [t for t, _ in sweep.read_v(2, "layer", 4)] == [t for t, _ in v]
    parts = sweep.joint.Vh[1, 1, 0].view(len(PROMPT), -1)
    (most,) = eq.read_input(lm, parts[parts.norm(dim=-1).argmax()], k=8)
    assert [t for t, _ in sweep.read_v(1, "attn", None)] == [t for t, _ in most]


def test_the_layer_at_which_a_token_first_becomes_the_read_out() -> None:
    lm = family("llama")
    sweep = eq.layer_sweep(lm, token_ids=PROMPT, k=2)
    ids = sweep.triplets.u_ids[:, sweep.kind_index("layer"), 3, 0, 0]
    chosen = int(ids[1])
    expected = [int(i) for i in ids].index(chosen)
    assert int(sweep.first_layers(chosen)[3]) == expected
    absent = next(i for i in range(lm.vocab_size) if i not in ids)
    assert int(sweep.first_layers(absent)[3]) == -1
    assert sweep.first_layers(chosen).shape == (len(PROMPT) + 1,)
    assert (sweep.first_layers(chosen, within=lm.vocab_size) <= sweep.first_layers(chosen)).any()


def test_little_memory_changes_nothing_but_the_way() -> None:
    lm = llama("affine")
    usual = eq.layer_sweep(lm, token_ids=PROMPT, k=2, method="forward")
    tight = eq.layer_sweep(lm, token_ids=PROMPT, k=2, memory_budget=1)
    assert tight.method == "reverse"
    torch.testing.assert_close(tight.S, usual.S, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precisions_are_exact_within_their_bounds(dtype: torch.dtype) -> None:
    sweep = eq.layer_sweep(llama("affine", dtype), token_ids=PROMPT, k=2)
    assert sweep.dtype == str(dtype).removeprefix("torch.")
    assert sweep.exact
    assert float(sweep.errors.max()) > 0


# ---- the choice of the way ------------------------------------------------------------------------------------------

SMOL: dict[str, Any] = {"width": 576, "layers": 30, "values": 192, "mixed": 576, "inner": 1536}


def test_a_short_prompt_is_accumulated_forwards_and_a_long_one_reversed() -> None:
    plenty = 10**15
    ways = [sweep_cost(T, **SMOL).cheaper(plenty) for T in (1, 7, 20, 40, 80, 160, 640)]
    assert ways[0] == ways[1] == "forward"
    assert ways[-1] == "reverse"
    assert ways == sorted(ways), "there is one crossing"


def test_forward_accumulation_costs_a_few_dense_passes_for_all_layers_and_kinds() -> None:
    cost = sweep_cost(7, **SMOL)
    dense = 576 * 7 * 30 * 576 * (192 + 576 + 2 * 1536)
    assert 1 < cost.forward / dense < (7 + 1) / 2
    assert 15 < cost.reverse / dense < 16
    one_each = 3 * dense * 31 // 2
    assert one_each / cost.forward > 8


def test_what_does_not_fit_is_reversed() -> None:
    cost = sweep_cost(7, **SMOL)
    assert cost.cheaper(cost.forward_bytes) == "forward"
    assert cost.cheaper(cost.forward_bytes - 1) == "reverse"
    assert cost.reverse_bytes < cost.forward_bytes


def test_the_cost_is_that_of_the_model_and_the_prompt() -> None:
    lin = eq.linearize(family("llama"), token_ids=PROMPT)
    assert cost_of(lin) == sweep_cost(11, 32, 3, values=16, mixed=32, inner=40, itemsize=8)


# ---- ending early, and refusing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", ["cumulative", "layerwise"])
def test_a_sweep_reports_its_progress_and_can_be_cancelled(mode: Any, method: Any) -> None:
    lin = eq.linearize(family("llama"), token_ids=PROMPT)
    reports: list[float] = []
    sweep_map(lin, mode, k=2, method=method, progress=lambda fraction, message: reports.append(fraction))
    assert reports == sorted(reports)
    assert (reports[0], reports[-1]) == (0.0, 1.0)
    assert len(set(reports)) == 4
    with pytest.raises(eq.Cancelled):
        sweep_map(lin, mode, k=2, method=method, progress=lambda fraction, message: fraction < 0.3)
    assert sweep_map(lin, mode, k=2, method=method).exact, "the map is still usable"


@pytest.mark.parametrize("budget", [None, 60_000], ids=["kept", "computed twice"])
def test_what_is_shown_early_is_a_part_of_the_whole(budget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "TOGETHER", 2)
    lin = eq.linearize(family("llama"), token_ids=PROMPT, memory_budget=budget)
    seen: list[eq.LayerSweep] = []
    reports: list[float] = []
    whole = sweep_map(lin, k=4, early=Early(seen.append), progress=lambda done, _: reports.append(done))
    alone = sweep_map(lin, k=4)
    assert [len(first.values) for first in seen] == [2, 3]
    for first in seen:
        there = slice(len(first.values))
        assert first.kinds == ("layer",)
        torch.testing.assert_close(first.S[:, 0], whole.S[there, 0, :, :2])
        assert torch.equal(first.triplets.u_ids[..., 0, 0], whole.triplets.u_ids[there, :1, :, 0, 0])
    assert torch.equal(whole.U, alone.U)
    assert torch.equal(whole.triplets.v_scores, alone.triplets.v_scores)
    assert reports == sorted(reports)
    assert reports[-1] == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mode": "both"}, "mode is 'cumulative' or 'layerwise', not 'both'"),
        ({"kinds": ("heads",)}, "kinds are some of 'layer', 'attn', 'mlp', each once"),
        ({"kinds": "mlp"}, "kinds are some of"),
        ({"kinds": ()}, "kinds are some of"),
        ({"kinds": ("mlp", "mlp")}, "each once"),
        ({"k": 0}, "k is a whole number from 1 to 32 .the model's width., not 0"),
        ({"k": 33}, "k is a whole number from 1 to 32 .the model's width., not 33"),
        ({"method": "sideways"}, "method is 'forward', 'reverse' or None"),
        ({"token_ids": []}, "The prompt has no tokens"),
        ({"gated_path": "down"}, "gated_path is 'up', 'half', 'gate' or a share"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_one_sentence(options: Any, sentence: str) -> None:
    with pytest.raises(eq.EqlinError, match=sentence):
        eq.layer_sweep(family("llama"), **{"token_ids": PROMPT, **options})


def test_a_kind_that_was_not_computed_is_refused() -> None:
    sweep = eq.layer_sweep(family("llama"), token_ids=PROMPT, kinds=("layer",), k=1)
    with pytest.raises(eq.EqlinError, match="has the kinds layer, not 'mlp'"):
        sweep.read_u(0, "mlp", 0)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ((9, "layer", 0), "has the layers 0 to 2, not 9"),
        ((0, "layer", len(PROMPT)), f"has the tokens 0 to {len(PROMPT) - 1}, not {len(PROMPT)}"),
        ((0, "layer", 0, 1), "has the triplets 0 to 0, not 1"),
        ((0, "layer", None, -2), "has the triplets 0 to 0, not -2"),
    ],
)
def test_a_place_that_is_not_there_is_refused(place: Any, sentence: str) -> None:
    sweep = eq.layer_sweep(family("llama"), token_ids=PROMPT, kinds=("layer",), k=1)
    for read in (sweep.read_u, sweep.read_v):
        with pytest.raises(eq.EqlinError, match=sentence):
            read(*place)


def test_a_map_between_other_places_is_not_opened() -> None:
    lin = eq.linearize(family("llama"), token_ids=PROMPT, target=eq.Site(1, "layer"))
    with pytest.raises(eq.EqlinError, match="linearize without other places"):
        sweep_map(lin)
