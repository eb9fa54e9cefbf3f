"""Measures over prompts: rank correlation, means, intervals, differences, files."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import spearmanr

import eqlin_core as eq
from eqlin_core.runs.faithfulness import Faithfulness, bootstrap, drop_name, how_many, joined, rank_correlation


def study(values: np.ndarray, kinds: list[str] | None = None) -> Faithfulness:
    n = values.shape[1]
    return Faithfulness("made-up", "mean", ["a", "b"], [True, False], kinds or ["k"] * n, [5] * n, {"rank": values})


def test_rank_correlation_is_spearmans_ties_and_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, 9).astype(float), rng.normal(size=9)
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert math.isnan(rank_correlation(np.ones(5), np.arange(5.0)))
    assert math.isnan(rank_correlation(np.arange(2.0), np.arange(2.0)))


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        low, high = bootstrap(rng.normal(0.3, 1.0, 60))
        inside += low <= 0.3 <= high
    assert 0.88 <= inside / 200 <= 0.99


def test_means_intervals_and_paired_differences_leave_out_what_does_not_exist() -> None:
    found = study(np.array([[0.5, 0.7, math.nan], [0.1, 0.2, 0.9]]))
    assert found.mean("rank", "a") == pytest.approx(0.6)
    low, high = found.interval("rank", "a")
    assert 0.5 <= low <= 0.6 <= high <= 0.7
    mean, low, high = found.difference("rank", "a", "b")
    assert mean == pytest.approx(0.45)
    assert 0.4 <= low <= high <= 0.5
    assert found.best("rank", exact=True) == "a"
    assert found.best("rank", exact=False) == "b"
    nothing = study(np.full((2, 3), math.nan))
    assert math.isnan(nothing.mean("rank", "a"))
    assert all(map(math.isnan, nothing.interval("rank", "a")))


def test_a_study_reads_back_and_joins() -> None:
    found = study(np.array([[0.5, math.nan], [0.125, 1.0]]), ["x", "y"])
    again = Faithfulness.from_json(found.to_json())
    np.testing.assert_array_equal(again.values["rank"], found.values["rank"])
    both = joined([found, again])
    assert both.kinds == ["x", "y", "x", "y"]
    assert both.only("y").values["rank"].tolist()[1] == [1.0, 1.0]
    assert both.only("y").tokens == [5, 5]
    assert both.chats == [False] * 4


def test_a_study_of_before_there_were_chats_reads_back() -> None:
    old = json.loads(study(np.zeros((2, 2))).to_json())
    del old["chats"]
    assert Faithfulness.from_json(json.dumps(old)).chats == [False, False]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"values": {}}'])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(eq.EqlinError, match="no study of faithfulness"):
        Faithfulness.from_json(text)


def test_unknown_measures_and_methods_are_named() -> None:
    found = study(np.zeros((2, 2)))
    with pytest.raises(eq.EqlinError, match="no measure 'area'; there are rank"):
        found.mean("area", "a")
    with pytest.raises(eq.EqlinError, match="no method 'c'; there are: a; b"):
        found.mean("rank", "c")
    with pytest.raises(eq.EqlinError, match="same methods and deletion"):
        joined([found, Faithfulness("other", "mean", ["a", "b"], [True, False], [], [], {"rank": np.zeros((2, 0))})])


def test_counts_and_names_of_tokens() -> None:
    assert [how_many(k, 11) for k in (1, 3, 20, 0.05, 0.1, 0.2, 1.0)] == [1, 3, 11, 1, 2, 3, 11]
    assert [drop_name(2), drop_name(0.1), drop_name(0.05, kept=True)] == ["drop 2", "drop 10 %", "keep 5 %"]
