"""The float64 check sees rounding, and only rounding."""

import pytest
import torch

import eqlin_core as eq
from eqlin_core.maps.precision import precision_check
from tests.cases import MARIN, PROMPT, default_model, llama


@pytest.mark.parametrize(
    ("dtype", "least", "most"),
    [(torch.float64, 0.0, 0.0), (torch.float32, 1e-9, 1e-5), (torch.bfloat16, 1e-4, 0.3)],
)
def test_the_error_is_that_of_the_dtype(dtype: torch.dtype, least: float, most: float) -> None:
    lin = eq.linearize(llama("affine", dtype), token_ids=PROMPT)
    check = precision_check(lin)
    assert least <= check.contributions <= most
    assert least <= check.output <= most
    assert check.dtype == str(dtype).removeprefix("torch.")


def test_the_default_model_in_float32_is_good_to_five_digits_and_stays_as_it_was() -> None:
    lm = default_model("float32")
    lin = eq.linearize(lm, MARIN)
    check = precision_check(lin)
    assert check.contributions < 1e-4
    assert check.same_token
    assert lm.dtype == torch.float32


def test_a_check_that_does_not_fit_or_has_no_meaning_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT, target=eq.Site(1, "mlp"))
    with pytest.raises(eq.EqlinError, match="from the embeddings to the output"):
        precision_check(lin)
    whole = eq.linearize(llama(), token_ids=PROMPT)
    monkeypatch.setattr("eqlin_core.resources.budget.free_bytes", lambda device: 1000)
    with pytest.raises(eq.EqlinError, match="float64 copy"):
        precision_check(whole)
