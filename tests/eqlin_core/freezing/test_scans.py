"""Recurrent mixers: held coefficients give what the stock function gives, and models of every kind are exact."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import eqlin_core as eq
from eqlin_core.audit.architectures import tiny_architecture
from eqlin_core.freezing.scans import SCANS, FrozenScans, frozen_scans
from eqlin_core.freezing.treatments import treatments
from tests.cases import PROMPT

T, H, E = 7, 3, 4


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + len(shape)))


def delta(channels: bool) -> dict[str, Any]:
    decay = -draw(1, T, H, E, seed=4).abs() if channels else -draw(1, T, H, seed=4).abs()
    given = {"query": draw(1, T, H, E, seed=1), "key": draw(1, T, H, E, seed=2), "value": draw(1, T, H, E, seed=3)}
    return {**given, "g": decay, "beta": draw(1, T, H, seed=5).sigmoid(), "use_qk_l2norm_in_kernel": True}


def mamba2() -> dict[str, Any]:
    return {
        "hidden_states": draw(1, T, 4, E),
        "dt": draw(1, T, 4, seed=1),
        "A": -draw(4, seed=2).abs(),
        "B": draw(1, T, 2, 5, seed=3),
        "C": draw(1, T, 2, 5, seed=4),
        "chunk_size": 3,
        "D": draw(4, seed=5),
        "dt_bias": draw(4, seed=6),
        "dt_softplus": True,
    }


def selective() -> dict[str, Any]:
    return {
        "hidden_states": draw(1, E, T),
        "dt": draw(1, E, T, seed=1),
        "A": -draw(E, 5, seed=2).abs(),
        "B": draw(1, 5, T, seed=3),
        "C": draw(1, 5, T, seed=4),
        "D": draw(E, seed=5),
        "delta_bias": draw(E, seed=6),
        "delta_softplus": True,
    }


def rwkv() -> dict[str, Any]:
    given = {"time_decay": draw(E), "time_first": draw(E, seed=1)}
    return {**given, "key": draw(1, T, E, seed=2), "value": draw(1, T, E, seed=3)}


def recurrent() -> dict[str, Any]:
    reset = torch.zeros(1, T, 1, dtype=torch.bool)
    reset[:, 0] = True
    gate = draw(1, T, E).sigmoid()
    return {"hidden_states": draw(1, T, E, seed=1), "recurrent_gate": gate, "reset": reset, "recurrent_states": None}


CALLS: dict[str, tuple[str, str, Callable[[], dict[str, Any]]]] = {
    "gated delta rule": ("qwen3_next", "torch_chunk_gated_delta_rule", lambda: delta(channels=False)),
    "KDA": ("kimi_linear", "chunk_kimi_delta_attention", lambda: delta(channels=True)),
    "Mamba-2": ("bamba", "mamba2_chunk_scan", mamba2),
    "Mamba-1": ("mamba", "mamba_selective_scan", selective),
    "RWKV": ("rwkv", "rwkv_linear_attention", rwkv),
    "RG-LRU": ("recurrent_gemma", "RecurrentGemmaRglru._rnn_scan", recurrent),
}


def stock(model_type: str, name: str) -> Callable[..., Any]:
    found: Any = importlib.import_module(f"transformers.models.{model_type}.modeling_{model_type}")
    for part in name.split("."):
        found = getattr(found, part)
    if "." in name:
        method = found

        def without_self(
            hidden_states: Tensor, recurrent_gate: Tensor, reset: Tensor, recurrent_states: Tensor | None
        ) -> Any:
            return method(None, hidden_states, recurrent_gate, reset, recurrent_states)

        return without_self
    return found


@pytest.mark.parametrize("kind", CALLS)
def test_the_held_coefficients_give_what_the_stock_function_gives_for_other_values(kind: str) -> None:
    model_type, name, arguments = CALLS[kind]
    scan, function, given = SCANS[name.rpartition(".")[2]], stock(model_type, name), arguments()
    held = scan.hold(function, given)
    others = [draw(*given[scan.value].shape, seed=s) for s in (10, 11)]
    for value in others:
        expected = function(**{**given, scan.value: value})
        expected = expected[0] if isinstance(expected, tuple) else expected
        torch.testing.assert_close(held.apply(value, 0), expected.to(value.dtype), rtol=1e-4, atol=1e-5)
    batch = held.apply(torch.cat(others), 0)
    torch.testing.assert_close(batch, torch.cat([held.apply(v, 0) for v in others]))


@pytest.mark.parametrize("kind", CALLS)
def test_the_coefficients_are_applied_in_the_precision_of_the_path_and_from_any_position(kind: str) -> None:
    model_type, name, arguments = CALLS[kind]
    scan, given = SCANS[name.rpartition(".")[2]], arguments()
    held = scan.hold(stock(model_type, name), given)
    v, w = (draw(*given[scan.value].shape, seed=s).double() for s in (10, 11))
    together = held.apply(2 * v - w, 0)
    torch.testing.assert_close(together, 2 * held.apply(v, 0) - held.apply(w, 0), rtol=1e-12, atol=1e-12)
    time = 2 if name == "mamba_selective_scan" else 1
    late = v.clone()
    late.narrow(time, 0, 3).zero_()
    left = held.apply(v.narrow(time, 3, T - 3), 3)
    torch.testing.assert_close(left, held.apply(late, 0).narrow(time, 3, T - 3), rtol=1e-12, atol=1e-12)


# By kind of mixer one architecture; hybrids have attention between.
MODELS = {
    "qwen3_next": "decay and beta held",
    "kimi_linear": "decay and beta held",
    "bamba": "time step, A, B and C held",
    "falcon_h1": "time step, A, B and C held",
    "mamba": "time step, B and C held",
    "jamba": "time step, B and C held",
    "rwkv": "keys and decay held",
    "recurrent_gemma": "recurrent gates held",
    "zamba2": "time step, A, B and C held",
    "nemotron_h": "time step, A, B and C held",
    "xlstm": "queries, keys and gates held",
    "minimax": "queries, keys and decay held",
    "lfm2": "B and C held, x linear",
}


@pytest.mark.parametrize("model_type", MODELS)
def test_a_recurrent_model_is_exact_by_every_convention(model_type: str) -> None:
    lm = tiny_architecture(model_type)
    for dials in (eq.Convention(), eq.Convention("gate"), eq.Convention("half", "half")):
        lin = eq.linearize(lm, token_ids=PROMPT, **dials.keywords)
        exactness = lin.exactness()
        assert exactness.exact, exactness
        assert exactness.reconstruction < 1e-13
        assert any(MODELS[model_type] in row.how for row in treatments(lin.network))


@pytest.mark.parametrize("model_type", ["qwen3_next", "jamba"])
def test_no_token_reads_a_later_one_and_the_matrix_is_the_map(model_type: str) -> None:
    lin = eq.linearize(tiny_architecture(model_type), token_ids=PROMPT, position=4)
    J = lin.jacobian()
    assert not J[5:].any()
    assert J[:5].flatten(1).norm(dim=1).min() > 0
    terms = torch.einsum("tod,td->to", J, lin.inputs)
    torch.testing.assert_close(terms, lin.contributions().to(terms), rtol=1e-9, atol=1e-10)


def test_other_threads_and_other_models_keep_the_stock_function() -> None:
    lm, other = tiny_architecture("mamba"), tiny_architecture("mamba", seed=1)
    module = importlib.import_module("transformers.models.mamba.modeling_mamba")
    before, ids = module.mamba_selective_scan, torch.tensor([PROMPT])
    expected = other.model(input_ids=ids).logits
    network = eq.linearize(lm, token_ids=PROMPT).network
    seen: list[Tensor] = []
    with frozen_scans(FrozenScans(lm.model, network._functions, lambda *_: None)):
        assert module.mamba_selective_scan is not before
        thread = threading.Thread(target=lambda: seen.append(other.model(input_ids=ids).logits))
        thread.start()
        thread.join()
    assert module.mamba_selective_scan is before
    assert torch.equal(seen[0], expected)
