"""What a researcher sees of an object at the prompt: one line, or a small table in a notebook, and never an array."""

from __future__ import annotations

from typing import Any

import pytest

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from eqlin_core.reprs import excerpt, html_table, span
from tests.cases import MARIN, PROMPT

T = len(PROMPT)


def lines() -> dict[str, Any]:
    """One of each, of the same tiny model."""
    lm = tiny_model("llama")
    lin = eq.linearize(lm, token_ids=PROMPT)
    lin.exactness()
    operator = eq.steering_operator(lm, token_ids=PROMPT[:2], layers=2)
    sweep = eq.layer_sweep(lm, token_ids=PROMPT, k=2)
    spectrum = eq.spectrum(lin, 3)
    return {
        "LanguageModel": lm,
        "LinearMap": lin,
        "PartlyFrozen": eq.partly_frozen(lin, ["norms"]),
        "Spectrum": spectrum,
        "joint": eq.spectrum(lin, 3, joint=True),
        "Triplets": eq.top_triplets(lin, 2),
        "Truncation": eq.truncate(lin, spectrum),
        "LayerSweep": sweep,
        "places": sweep.triplets,
        "DirectContributions": eq.direct_contributions(lin, lm.unembedding[:2]),
        "SteeringOperator": operator,
        "Generation": eq.steer(lm, token_ids=PROMPT, operator=operator, strength=0.5, max_new_tokens=2),
        "SteeringSweep": eq.steering_sweep(
            lm, token_ids=PROMPT, operator=operator, strengths=[0.0, 0.5], max_new_tokens=2
        ),
        "TokenRun": eq.token_run(lin, "a prompt"),
        "SpectrumRun": eq.spectrum_run(lin, 2),
        "Target": eq.token_run(lin, "a prompt").targets[0],
    }


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    return lines()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("LanguageModel", "LanguageModel(tiny llama, llama, 3 blocks, d=32, float64, cpu)"),
        ("LinearMap", f"LinearMap(tiny llama, {T} tokens, d=32, float64, exact "),
        ("PartlyFrozen", f"PartlyFrozen(frozen: norms, {T} tokens, d=32, float64, not exact "),
        ("Spectrum", f"Spectrum({T} tokens, k=3, σ₁ "),
        ("joint", "Spectrum(all tokens together, k=3, σ₁ "),
        ("Triplets", "Triplets(k=2, σ "),
        ("Truncation", "Truncation(ranks 0 to 3, error "),
        ("LayerSweep", f"LayerSweep(cumulative, 3 layers, layer, attn, mlp, {T} tokens, k=2, d=32, float64, exact "),
        ("places", f"ReadTriplets(places 3 x 3 x {T}, k=2, 8 read, float64)"),
        ("DirectContributions", f"DirectContributions(2 directions, 3 layers, 4 heads, {T} tokens, total "),
        (
            "SteeringOperator",
            "SteeringOperator(tiny llama, 2 tokens, d=32, 2 blocks, into block 1, with the final norm, float64)",
        ),
        ("Generation", "Generation('"),
        ("SteeringSweep", "SteeringSweep(2 generations, strengths 0.0 to 0.5)"),
        ("TokenRun", f"TokenRun(tiny llama, 'a prompt', {T} tokens, d=32, float64, next '<"),
        ("SpectrumRun", f"SpectrumRun(tiny llama, {T} tokens, k=2, σ₁ "),
        ("Target", "Target('<"),
    ],
)
def test_an_object_prints_in_one_short_line_and_a_small_table(objects: dict[str, Any], name: str, line: str) -> None:
    shown = repr(objects[name])
    assert shown.startswith(line)
    assert len(shown) < 160
    assert not any(array in shown for array in ("tensor(", "array(", "\n"))
    table = objects[name]._repr_html_()
    assert table.startswith("<table>")
    assert type(objects[name]).__name__ in table
    assert len(table) < 2000


def test_a_repr_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lin = eq.linearize(tiny_model("llama"), token_ids=PROMPT)
    for computation in ("replay", "traced"):
        monkeypatch.setattr(lin.network, computation, lambda *_: pytest.fail("a repr ran the network"))
    assert repr(lin) == f"LinearMap(tiny llama, {T} tokens, d=32, float64)"


def test_a_map_between_inner_places_says_so() -> None:
    lin = eq.linearize(
        tiny_model("llama"), token_ids=PROMPT, source=eq.Site(1, "input"), target=eq.Site(2, "mlp"), gated_path="gate"
    )
    for said in ("from Site(layer=1, kind='input')", "to Site(layer=2, kind='mlp')", "gated_path='gate'"):
        assert said in repr(lin)


def test_the_default_model_reads_as_its_documentation_says(default_model_float64: eq.LanguageModel) -> None:
    lin = eq.linearize(default_model_float64, MARIN)
    error = lin.exactness().reconstruction
    assert repr(lin) == f"LinearMap(smollm2-135m, 7 tokens, d=576, float64, exact {error:.1e})"


def test_exactness_keeps_its_fields_and_shows_its_bounds_in_a_notebook() -> None:
    exactness = eq.Exactness(2e-3, 1e-7, "float64", False, ["a < b"])
    assert (
        repr(exactness)
        == "Exactness(reconstruction=0.002, forward=1e-07, dtype='float64', exact=False, leaks=['a < b'], "
        "products='ieee')"
    )
    table = exactness._repr_html_()
    for said in ("NO", "2.00e-03 (bound 1e-13)", "a &lt; b"):
        assert said in table


def test_texts_are_cut_and_escaped() -> None:
    assert excerpt("a" * 50) == repr("a" * 39 + "…")
    assert excerpt("short") == "'short'"
    assert (span([63.93, 2.989]), span([63.93])) == ("2.99 to 63.9", "63.9")
    assert "<script>" not in html_table("x", [("y", "<script>")])
