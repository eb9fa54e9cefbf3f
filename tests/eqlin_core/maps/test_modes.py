"""What the caller does around the engine: torch's inference mode, and weights that change after the map was made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import eqlin_core as eq
from eqlin_core.layers.heads import direct_contributions
from eqlin_core.maps.token_map import TokenMap
from tests.cases import PROMPT, llama, tiny_model

W = torch.linspace(-1, 1, 32, dtype=torch.float64)[None]
NUMBERS: dict[str, Callable[[eq.LinearMap], Any]] = {
    "contributions": lambda lin: lin.contributions(),
    "bias": lambda lin: lin.bias,
    "matrix": lambda lin: lin.jacobian(),
    "apply": lambda lin: lin.apply(2 * lin.inputs),
    "adjoint": lambda lin: lin.adjoint(W.clone()),
    "split": lambda lin: lin.logit_split(W.clone())[0],
    "spectrum": lambda lin: eq.spectrum(lin, k=2).S,
    "joint triplets": lambda lin: eq.top_triplets(lin, 2).S,
    "one token": lambda lin: TokenMap(lin, 3).adjoint(W.clone()),
    "one token's apply": lambda lin: TokenMap(lin, 3).apply(W.clone()),
    "heads": lambda lin: direct_contributions(lin, W.clone()).heads,
    "sweep": lambda lin: eq.layer_sweep(lin.lm, token_ids=PROMPT, k=2).S,
    "ordinary": lambda lin: eq.ordinary_jacobian(lin.lm, token_ids=PROMPT),
    "partly frozen": lambda lin: eq.partly_frozen(lin, ("norms",)).contributions,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_inference_mode_changes_no_number(name: str) -> None:
    expected = NUMBERS[name](eq.linearize(llama("affine"), token_ids=PROMPT))
    with torch.inference_mode():
        lin = eq.linearize(llama("affine"), token_ids=PROMPT)
        found = NUMBERS[name](lin)
        assert lin.exactness().exact
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_model_made_in_inference_mode_is_refused() -> None:
    with torch.inference_mode():
        lm = tiny_model("llama")
    with pytest.raises(
        eq.EqlinError, match=r"loaded in torch\.inference_mode\(\), where no derivatives exist: load it"
    ):
        eq.linearize(lm, token_ids=PROMPT)


@pytest.mark.parametrize("name", ["contributions", "matrix", "apply", "adjoint", "one token", "one token's apply"])
def test_weights_that_change_after_the_map_was_made_are_noticed(name: str) -> None:
    lm = tiny_model("llama")
    lin = eq.linearize(lm, token_ids=PROMPT)
    with torch.no_grad():
        lm.model.get_decoder().layers[1].mlp.up_proj.weight.mul_(1.5)
    with pytest.raises(eq.EqlinError, match=r"weights have changed .* linearize the prompt again"):
        NUMBERS[name](lin)
    assert eq.linearize(lm, token_ids=PROMPT).exactness().exact
