"""Read-outs of every layer against the stock model's own norm and head, and against dense maps of the same prompt."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import eqlin_core as eq
from eqlin_core.audit.architectures import tiny_architecture
from eqlin_core.audit.families import tiny_model
from tests.eqlin_core.lenses.lens_cases import PROMPTS, fitted, shared, stream

IDS = PROMPTS[0]
# LayerNorm with biases; logits that are soft-capped, scaled, with a norm weight of 1 + gamma.
NAMES = ("llama", "gpt2", "gemma2", "granite")


@torch.no_grad()
def stock(lm: eq.LanguageModel, h: Tensor) -> Tensor:
    """What the model's own code makes of a vector after its last block."""
    model, name = lm.model, lm.name.removeprefix("tiny ")
    norm = model.transformer.ln_f if name == "gpt2" else model.model.norm
    logits = model.lm_head(norm(h))
    if name == "gemma2":
        cap = model.config.final_logit_softcapping
        logits = cap * torch.tanh(logits / cap)
    return logits / 4.0 if name == "granite" else logits


def dense(lm: eq.LanguageModel, layer: int, position: int) -> Tensor:
    """J_l [d, d] of this prompt at a position, by the exact engine from the next block's input."""
    lin = eq.linearize(
        lm,
        token_ids=IDS,
        source=eq.Site(layer + 1, "input"),
        target=eq.Site(lm.n_layers - 1, "layer"),
        final_norm=False,
        position=position,
    )
    return lin.jacobian()[position]


def check(read: eq.LensReadout, expected: list[Tensor]) -> None:
    logits = torch.stack(expected)
    best = logits.topk(5)
    torch.testing.assert_close(read.top_logits, best.values, rtol=1e-5, atol=1e-5)
    assert torch.equal(read.top_ids, best.indices)
    for m, token in enumerate(read.token_ids):
        order = logits.argsort(-1, descending=True)
        assert read.ranks[:, m].tolist() == [row.tolist().index(token) + 1 for row in order]
        expected_log = logits.double().log_softmax(-1)[:, token]
        torch.testing.assert_close(read.log_probabilities[:, m], expected_log, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("position", [-1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_the_logit_lens_is_the_models_own_head_on_every_layer(name: str, position: int) -> None:
    lm = shared(name)
    read = eq.read_lens(lm, token_ids=IDS, k=5, position=position, tokens=[7, 30])
    assert (read.layers, read.token_ids, read.position) == (list(range(lm.n_layers)), [7, 30], position % len(IDS))
    check(read, [stock(lm, h[position]) for h in stream(lm, IDS)])
    with torch.no_grad():
        own = lm.model(torch.tensor([IDS])).logits[0, position]
    torch.testing.assert_close(read.top_logits[-1], own.topk(5).values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_exact_read_out_goes_through_the_map_of_this_prompt(name: str) -> None:
    lm, position = shared(name), 5
    read = eq.read_lens(lm, token_ids=IDS, lens="exact", k=5, position=position)
    h = [one[position] for one in stream(lm, IDS)]
    through = [dense(lm, layer, position) @ h[layer] for layer in range(lm.n_layers - 1)]
    check(read, [stock(lm, y) for y in (*through, h[-1])])
    assert read.token_ids == [int(stock(lm, h[-1]).argmax())]
    assert read.ranks[-1].tolist() == [1]


def test_a_lens_reads_what_it_transports_on_its_own_layers_and_the_model_on_the_last() -> None:
    lm, lens = shared(), eq.fit_lens(shared(), PROMPTS[:2], "r-lens", layers=[1], skip=1)
    read = eq.read_lens(lm, token_ids=IDS, lens=lens, k=5)
    assert (read.read, read.layers) == ("r-lens", [1, 2])
    h = [one[-1] for one in stream(lm, IDS)]
    check(read, [stock(lm, lens.matrices[0].double() @ h[1]), stock(lm, h[2])])
    assert read.top(1)[0] == (read.names[int(read.top_ids[0, 0])], float(read.top_logits[0, 0]))
    with pytest.raises(ValueError, match="Layer 0 was not read"):
        read.top(0)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_cosines_compare_the_lens_with_the_exact_map_of_this_prompt(name: str) -> None:
    lm, lens, position, token = shared(name), fitted("frozen", name), 5, 7
    found = eq.lens_cosines(lm, lens, token_ids=IDS, token=token, position=position)
    norm = lm.model.transformer.ln_f if name == "gpt2" else lm.model.model.norm
    h = stream(lm, IDS)[-1][position]
    if name == "gpt2":
        w = norm.weight * lm.unembedding[token] / (h.var(unbiased=False) + norm.eps).sqrt()
        w = w - w.mean()
    else:
        w = norm.weight * lm.unembedding[token] / (h.square().mean() + norm.variance_epsilon).sqrt()
    for at, layer in enumerate(lens.layers):
        both = dense(lm, layer, position).T @ w, lens.matrices[at].double().T @ w
        assert float(found[at]) == pytest.approx(float(torch.cosine_similarity(*both, dim=0)), abs=1e-5)
    assert 0.1 < float(found[0]) < 0.999


def test_a_lens_of_one_position_is_that_prompts_exact_map() -> None:
    lm = shared()
    lens = eq.fit_lens(lm, [IDS], "frozen", positions="last")
    torch.testing.assert_close(eq.lens_cosines(lm, lens, token_ids=IDS), torch.ones(2, dtype=torch.float64))
    through, exact = (eq.read_lens(lm, token_ids=IDS, lens=one) for one in (lens, "exact"))
    torch.testing.assert_close(through.log_probabilities, exact.log_probabilities, rtol=1e-5, atol=1e-5)


def test_tokens_are_chosen_by_text_or_id() -> None:
    from tests.eqlin_core.odd_calls import tiny_with_text

    lm = tiny_with_text()
    read = eq.read_lens(lm, "the bridge", tokens=["a", lm.encode("b")[0]])
    assert read.tokens == ["a", "b"]
    assert repr(read) == "LensReadout(logit lens, position 1, 3 layers, ranks of 'a', 'b', k=8)"
    with pytest.raises(eq.EqlinError, match="is not a single token"):
        eq.read_lens(lm, "the", tokens=["ab"])
    with pytest.raises(eq.EqlinError, match="lens, if it is a text, is 'exact', not 'frozen'"):
        eq.read_lens(lm, "the", lens="frozen")


def test_what_overflows_is_a_sentence_and_no_rank() -> None:
    lm = tiny_model("llama", dtype=torch.float16)
    lens = fitted("frozen", positions="last")
    huge = replace(lens, matrices=1e30 * lens.matrices)
    with pytest.raises(eq.EqlinError, match="Read as frozen, numbers overflow in float16"):
        eq.read_lens(lm, token_ids=IDS, lens=huge)


def test_a_model_of_one_block_is_read_as_itself() -> None:
    lm = tiny_model("llama", num_hidden_layers=1)
    for lens in (None, "exact"):
        read = eq.read_lens(lm, token_ids=IDS, lens=lens)
        assert (read.layers, read.ranks.tolist()) == ([0], [[1]])


def test_a_model_that_does_more_than_its_final_norm_is_refused() -> None:
    lm = tiny_architecture("lfm2")  # whose final norm is called one of embeddings
    with pytest.raises(eq.EqlinError, match="does more than its final norm between its last block and its output"):
        eq.read_lens(lm, token_ids=IDS)
