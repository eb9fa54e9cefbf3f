"""Vectors read as tokens: the ranking is right at every rank, however the vocabulary is cut into blocks."""

from __future__ import annotations

import pytest
import torch

import eqlin_core as eq
from eqlin_core.models import readout
from tests.cases import default_model, llama

VOCAB, D = 61, 8


@pytest.mark.parametrize("block", [1, 2, 7, 20, 61, 100])
@pytest.mark.parametrize("cosine", [False, True])
def test_every_rank_is_right_across_the_blocks_of_the_vocabulary(
    block: int, cosine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, vectors = torch.randn(VOCAB, D, dtype=torch.float64), torch.randn(5, D, dtype=torch.float64)
    monkeypatch.setattr(readout, "_BLOCK", block)
    scores, ids = readout.top_tokens(table, vectors, 10, cosine=cosine)
    expected = torch.cosine_similarity(vectors[:, None], table[None], dim=-1) if cosine else vectors @ table.T
    best = expected.topk(10)
    torch.testing.assert_close(scores, best.values)
    assert torch.equal(ids, best.indices)


def test_the_best_tokens_may_all_stand_in_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge that keeps only each block's first would lose ranks 2 to k."""
    table = torch.zeros(VOCAB, D)
    table[40:50, 0] = torch.arange(10, 0, -1).float()
    monkeypatch.setattr(readout, "_BLOCK", 20)
    scores, ids = readout.top_tokens(table, torch.eye(D)[:1], 6)
    assert ids.tolist() == [[40, 41, 42, 43, 44, 45]]
    assert scores.tolist() == [[10, 9, 8, 7, 6, 5]]


def test_more_tokens_than_there_are_gives_all_of_them() -> None:
    scores, ids = readout.top_tokens(torch.randn(5, D), torch.randn(1, D), 9)
    assert sorted(ids[0].tolist()) == [0, 1, 2, 3, 4]
    assert scores[0].tolist() == sorted(scores[0].tolist(), reverse=True)


def test_output_scores_are_logits_of_the_vector() -> None:
    lm = llama()
    vectors = torch.randn(2, 3, 32, dtype=torch.float64)
    rows = eq.read_output(lm, vectors, k=4)
    assert len(rows) == 6
    logits = lm.model.get_output_embeddings()(vectors.reshape(6, 32))
    for row, expected in zip(rows, logits, strict=True):
        assert [token for token, _ in row] == [f"<{i}>" for i in expected.topk(4).indices.tolist()]
        torch.testing.assert_close(
            torch.tensor([score for _, score in row]), expected.topk(4).values, check_dtype=False, rtol=1e-6, atol=1e-6
        )


def test_an_input_embedding_reads_as_its_own_token_with_cosine_one() -> None:
    lm = default_model("float32")
    ids = [504, 7395, 100]
    rows = eq.read_input(lm, 3.0 * lm.input_embeddings[ids], k=3)
    assert [row[0][0] for row in rows] == lm.token_strings(ids)
    for row in rows:
        scores = [score for _, score in row]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == pytest.approx(1.0, abs=1e-5)
        assert scores[1] < 0.999


def test_a_zero_vector_has_a_readout_without_nan() -> None:
    rows = eq.read_input(llama(), torch.zeros(1, 32, dtype=torch.float64), k=2)
    assert [score for _, score in rows[0]] == [0.0, 0.0]
