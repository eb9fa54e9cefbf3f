"""Every token of an answer as a sum: against the untouched model, and against a map of each token's own."""

from __future__ import annotations

from itertools import product
from typing import Any
from unittest import mock

import pytest
import torch

import eqlin_core as eq
from eqlin_core.audit.architectures import tiny_architecture
from eqlin_core.audit.families import tiny_model
from eqlin_core.dtypes import wide
from eqlin_core.errors import Cancelled
from eqlin_core.freezing.network import FrozenNetwork
from eqlin_core.maps import answers, linear_map
from eqlin_core.maps.answers import AnswerSplit, answer_split
from eqlin_core.resources import plan
from eqlin_core.resources.answers import plan_answer
from eqlin_core.runs.split import TARGET_KINDS, TargetKind
from tests.cases import MARIN, PROMPT, default_model, family, llama

N, FIRST = len(PROMPT), 4
CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}
STOCK: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}  # whose norms go through float32 in every precision
# A scaled embedding, biases and learned positions, experts, a cap on the logits, a scale of the logits; recurrent ones.
FAMILIES = ["llama", "gpt2", "gemma3", "mixtral", "gemma2", "cohere2"]
RECURRENT = ["mamba2", "rwkv"]


def model(name: str) -> eq.LanguageModel:
    return tiny_architecture(name) if name in RECURRENT else family(name)


@torch.no_grad()
def stock_log_probabilities(lm: eq.LanguageModel, ids: list[int], first: int) -> torch.Tensor:
    lm.model.set_experts_implementation("eager")
    logits = lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double()
    return torch.stack([logits[i - 1].log_softmax(-1)[ids[i]] for i in range(first, len(ids))])


@pytest.mark.parametrize("kind", TARGET_KINDS)
@pytest.mark.parametrize("name", [*FAMILIES, *RECURRENT])
def test_every_row_sums_to_what_the_untouched_model_says(name: str, kind: TargetKind) -> None:
    lm = model(name)
    split = answer_split(eq.linearize(lm, token_ids=PROMPT), FIRST, kind)
    assert split.token_ids == PROMPT[FIRST:]
    expected = stock_log_probabilities(lm, PROMPT, FIRST)
    torch.testing.assert_close(split.log_probabilities, expected, **STOCK)
    if kind == "logit":
        with torch.no_grad():
            y = lm.decoder(input_ids=torch.tensor([PROMPT]), use_cache=False).last_hidden_state[0]
        expected = torch.stack([lm.unembedding[PROMPT[i]] @ y[i - 1] for i in range(FIRST, N)])
        assert not split.normalisers.any()
    torch.testing.assert_close(split.values, expected, **STOCK)
    torch.testing.assert_close(split.terms.sum(-1) + split.constants + split.normalisers, split.values, **CLOSE)
    assert split.exactness.exact
    assert split.exactness.reconstruction == split.errors.max()
    for row, terms in enumerate(split.terms):
        assert not terms[FIRST + row :].any(), "it has not been read"
        assert terms[: FIRST + row].all()


@pytest.mark.parametrize(
    ("name", "attention", "kind", "baseline"),
    [
        pytest.param(name, attention, kind, baseline, marks=[pytest.mark.slow] * (n % 5 > 0))  # every choice stays
        for n, (baseline, kind, (name, attention)) in enumerate(
            product(
                ("zero", "mean", 7),
                TARGET_KINDS,
                [*((name, "held") for name in FAMILIES), ("llama", "half"), ("gpt2", "half")],
            )
        )
    ],
)
def test_every_row_is_the_split_of_a_map_of_its_own(
    name: str, attention: str, kind: TargetKind, baseline: str | int
) -> None:
    lm = family(name)
    split = answer_split(eq.linearize(lm, token_ids=PROMPT, attention=attention), FIRST, kind, baseline)
    for row in range(N - FIRST):
        own = eq.linearize(lm, token_ids=PROMPT, position=FIRST + row - 1, attention=attention)
        terms, constant = own.logit_split(eq.direction(own, PROMPT[FIRST + row], kind)[None], baseline)
        torch.testing.assert_close(split.terms[row], terms[0], rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(split.constants[row], constant[0], rtol=1e-8, atol=1e-10)


def test_rows_do_not_depend_on_what_comes_after_them() -> None:
    lm = llama()
    whole = answer_split(eq.linearize(lm, token_ids=PROMPT), FIRST)
    shorter = answer_split(eq.linearize(lm, token_ids=PROMPT[:7]), FIRST)
    torch.testing.assert_close(whole.terms[: 7 - FIRST, :7], shorter.terms, **CLOSE)
    torch.testing.assert_close(whole.normalisers[: 7 - FIRST], shorter.normalisers, **CLOSE)


def test_a_normaliser_is_minus_the_entropy_where_logits_are_linear() -> None:
    lm = llama()
    split = answer_split(eq.linearize(lm, token_ids=PROMPT), FIRST)
    with torch.no_grad():
        logs = lm.model(input_ids=torch.tensor([PROMPT])).logits[0, FIRST - 1 : -1].log_softmax(-1)
    torch.testing.assert_close(split.normalisers, (logs.exp() * logs).sum(-1), **STOCK)


def test_parts_of_the_vocabulary_and_of_the_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = answer_split(eq.linearize(llama(), token_ids=PROMPT), 1)
    monkeypatch.setattr(answers, "ROWS", 3)
    found = answer_split(eq.linearize(llama(), token_ids=PROMPT, memory_budget=1), 1)
    for name in ("terms", "constants", "normalisers", "values"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), **CLOSE)


def test_one_recording_and_one_stock_pass_serve_all_rows() -> None:
    lm = tiny_model("llama")
    lin = eq.linearize(lm, token_ids=PROMPT)
    reverse, rows = linear_map.LinearMap._reverse, []

    def counted(self: eq.LinearMap, u: torch.Tensor, positions: Any = None) -> torch.Tensor:
        rows.append(len(u))
        return reverse(self, u, positions)

    with (
        mock.patch.object(linear_map.LinearMap, "_reverse", counted),
        mock.patch.object(FrozenNetwork, "_record", side_effect=AssertionError("recorded again")),
        mock.patch.object(linear_map, "_stock_value", wraps=linear_map._stock_value) as stock,
    ):
        answer_split(lin, FIRST)
        answer_split(lin, FIRST + 2)
    assert stock.call_count == 1
    assert rows == [N - FIRST, N - FIRST - 2]


@pytest.mark.parametrize("kind", TARGET_KINDS)
def test_the_real_model_in_float32_keeps_its_bound(kind: TargetKind) -> None:
    lm = default_model("float32")
    text = eq.read_text(lm, MARIN, answer=" longest suspension bridge in the world.")
    split = answer_split(eq.linearize(lm, token_ids=text.token_ids), text.first, kind, "mean")
    assert split.exactness.exact
    assert split.errors.max() <= split.exactness.bounds[0]
    expected = stock_log_probabilities(lm, text.token_ids, text.first)
    torch.testing.assert_close(split.log_probabilities, expected, rtol=1e-4, atol=1e-4)
    total = split.terms.sum(-1) + split.constants + split.normalisers
    torch.testing.assert_close(total, split.values, rtol=1e-4, atol=1e-3)
    assert repr(split).startswith(f"AnswerSplit(answer of {len(split.terms)} tokens, to 7 tokens, {kind}, ")


def test_a_model_that_is_not_exact_is_not_called_so() -> None:
    lin = eq.linearize(tiny_model("llama"), token_ids=PROMPT)
    lin.network.values = lin.network.values + 1e-3
    assert not answer_split(lin, FIRST).exactness.exact


def test_it_is_told_of_and_can_be_cancelled() -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT)
    seen: list[float] = []
    answer_split(lin, FIRST, progress=lambda fraction, message: seen.append(fraction))
    assert seen == sorted(seen)
    assert 0 < seen[0] < 1
    with pytest.raises(Cancelled):
        answer_split(lin, FIRST, progress=lambda fraction, message: False)
    assert isinstance(answer_split(lin, FIRST), AnswerSplit)


@pytest.mark.parametrize("first", [0, -1, N, N + 1])
def test_an_answer_that_is_not_there_is_refused(first: int) -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT)
    with pytest.raises(
        eq.EqlinError, match=rf"first is a whole number from 1 to 10 \(the text has 11 tokens\), not {first}"
    ):
        answer_split(lin, first)


@pytest.mark.parametrize(
    "place",
    [
        {"target": eq.Site(1, "mlp")},
        {"source": eq.Site(1, "input")},
        {"target": eq.Site(2, "layer"), "final_norm": False},
    ],
)
def test_only_an_answer_from_embeddings_to_the_output_is_split(place: Any) -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT, **place)
    with pytest.raises(eq.EqlinError, match="from the embeddings to the output"):
        answer_split(lin, FIRST)


def test_what_does_not_fit_is_refused_before_any_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT)
    monkeypatch.setattr("eqlin_core.resources.budget.free_bytes", lambda device: 1000)
    monkeypatch.setattr(linear_map.LinearMap, "seen_from", lambda *_: pytest.fail("computed"))
    with pytest.raises(eq.EqlinError, match=r"The rows of an answer to 4 tokens need .* are free on cpu"):
        answer_split(lin, FIRST)


def test_what_is_recorded_needs_no_room_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = default_model("float32")
    lin = eq.linearize(lm, MARIN)
    recorded = plan.recording_bytes(lm, lin.n_tokens) + plan.recorded_bytes(lm, lin.n_tokens)
    needed = plan_answer(lm, lin.n_tokens, 3).bytes - recorded
    monkeypatch.setattr("eqlin_core.resources.budget.free_bytes", lambda device: needed)
    assert answer_split(lin, lin.n_tokens - 3).exactness.exact


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("kind", TARGET_KINDS)
def test_a_token_that_is_nearly_certain_is_split_in_every_precision(dtype: torch.dtype, kind: TargetKind) -> None:
    lm = tiny_model("llama", dtype)
    with torch.no_grad():  # its logits a few hundred apart
        lm.model.lm_head.weight.mul_(2000)
        y = lm.decoder(input_ids=torch.tensor([PROMPT]), use_cache=False).last_hidden_state[0]
        sure = int((lm.unembedding @ y[FIRST - 1]).argmax())
    ids = [*PROMPT[:FIRST], sure]
    split = answer_split(eq.linearize(lm, token_ids=ids), FIRST, kind)
    assert split.exactness.exact
    assert torch.isfinite(split.errors).all()
    (logits,) = (wide(lm.unembedding @ y[FIRST - 1])[None],)
    if kind == "log-probability":
        assert abs(float(split.values[0])) < 0.1
        p = logits.softmax(-1)
        entropy = -(p * logits.log_softmax(-1)).nan_to_num(0.0).sum()
        torch.testing.assert_close(-split.normalisers[0], entropy, rtol=0.05, atol=0.02)
    total = (split.terms.sum(-1) + split.constants + split.normalisers)[0]
    size = float(wide(lm.unembedding[sure]).norm() * wide(y[FIRST - 1]).norm())
    assert abs(float(total - split.values[0])) <= 0.02 * size


# ---- seen_from -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_a_row_seen_from_a_position_is_the_adjoint_there(name: str) -> None:
    lin, positions = eq.linearize(family(name), token_ids=PROMPT), [3, -1, 0, 3]
    u = torch.randn(4, lin.width, dtype=torch.float64)
    found = lin.seen_from(u, positions)
    for row, position in enumerate(positions):
        own = eq.linearize(family(name), token_ids=PROMPT, position=position)
        torch.testing.assert_close(found[row], own.adjoint(u[row]), **CLOSE)


def test_nothing_is_seen_from_nowhere_and_what_is_not_there_is_refused() -> None:
    lin = eq.linearize(llama(), token_ids=PROMPT)
    assert lin.seen_from(torch.zeros(0, lin.width), []).shape == (0, N, lin.width)
    with pytest.raises(eq.EqlinError, match="A position 11 does not exist: the prompt has 11 tokens"):
        lin.seen_from(torch.zeros(1, lin.width), [11])
    with pytest.raises(eq.EqlinError, match=r"u is a tensor \[2, 32\] of real numbers"):
        lin.seen_from(torch.zeros(1, lin.width), [1, 2])
