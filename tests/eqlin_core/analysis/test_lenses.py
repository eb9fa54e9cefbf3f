"""The read-outs through lenses as a run: the numbers of `read_lens`, layer by layer, and gaps where a lens has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import eqlin_core as eq
from eqlin_core.analysis.lenses import KEPT, lens_run, words_of
from eqlin_core.runs.lenses import EXACT, LOGIT
from tests.eqlin_core.lenses.lens_cases import PROMPTS, fitted, shared

IDS = PROMPTS[0]


@pytest.fixture(scope="module")
def lin() -> eq.LinearMap:
    return eq.linearize(shared(), token_ids=IDS, gated_path="half")


def test_the_run_has_what_every_read_out_says(lin: eq.LinearMap) -> None:
    lens = fitted("frozen", positions="last")
    part = eq.fit_lens(shared(), PROMPTS[:2], "jacobian", layers=[1], skip=2)
    run = lens_run(lin, 5, [lens, part])
    assert run.reads == [LOGIT, EXACT, "frozen", "jacobian"]
    assert (run.token_id, run.key.token_ids) == (5, tuple(IDS))
    for name, of in ((LOGIT, None), (EXACT, "exact"), ("frozen", lens)):
        read, at = eq.read_lens(shared(), token_ids=IDS, lens=of, tokens=[5]), run.reads.index(name)
        np.testing.assert_array_equal(run.ranks[at], read.ranks[:, 0])
        np.testing.assert_allclose(run.log_probabilities[at], read.log_probabilities[:, 0])
        assert [token for token, _ in run.top(name, 0)] == [token for token, _ in read.top(0)]
        assert [logit for _, logit in run.top(name, 0)] == pytest.approx([logit for _, logit in read.top(0)])
        assert len(run.top(name, 0)) == KEPT
    cosines = eq.lens_cosines(shared(), lens, token_ids=IDS, token=5)
    np.testing.assert_allclose(run.cosines[2, :-1], cosines)
    assert np.isnan(run.cosines[0]).all()
    assert (run.cosines[1, :-1] == 1).all()
    assert np.isnan(run.cosines[:, -1]).all(), "the last layer is the model itself"
    last = run.ranks.shape[1] - 1
    assert run.ranks[:, last].tolist() == [int(run.ranks[0, last])] * 4


def test_layers_that_a_lens_does_not_have_are_gaps(lin: eq.LinearMap) -> None:
    part = eq.fit_lens(shared(), PROMPTS[:2], "jacobian", layers=[1], skip=2)
    run = lens_run(lin, lenses=[part])
    assert run.top("jacobian", 0) == []
    assert run.top("jacobian", 1)
    assert run.ranks[2, 0] == -1
    assert np.isnan([run.cosines[2, 0], run.log_probabilities[2, 0]]).all()
    assert "2 prompts" in run.fitted["jacobian"]


def test_it_is_of_the_model_s_own_next_token_unless_told(lin: eq.LinearMap) -> None:
    run = lens_run(lin)
    assert run.ranks[0, -1] == 1
    assert repr(run).startswith("LensRun(")


def test_a_map_within_a_longer_text_is_read_at_its_own_position(lin: eq.LinearMap) -> None:
    maps = lin.positions([4])[0], eq.linearize(shared(), token_ids=IDS[:5])
    inner, alone = (lens_run(one, 5, [fitted()]) for one in maps)
    assert inner.key.token_ids == tuple(IDS[:5])
    np.testing.assert_array_equal(inner.ranks, alone.ranks)
    np.testing.assert_allclose(inner.cosines, alone.cosines)


def test_a_lens_of_a_file_that_names_no_positions_is_read(lin: eq.LinearMap) -> None:
    unknown = replace(fitted(), kind="unrecorded", positions="unrecorded", model="")
    assert lens_run(lin, 5, [unknown]).fitted == {"unrecorded": "4 prompts"}


@pytest.mark.parametrize(("positions", "said"), [("last", "4 last positions"), ("future", "and those after them")])
def test_what_a_lens_averages_over_is_said(positions: str, said: str) -> None:
    assert said in words_of(fitted("frozen", positions=positions))
