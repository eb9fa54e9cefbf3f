"""Angles between subspaces whose angles are known, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eqlin_core as eq
from eqlin_core.runs.subspaces import angles_between
from tests import profiles  # noqa: F401 - chosen when it is imported

SEEDS = st.integers(0, 10**6)


def turned(degrees: list[float], d: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Two [d, k] with these principal angles."""
    k = len(degrees)
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(d, 2 * k)))[0]
    radians = np.radians(degrees)
    return axes[:, :k], axes[:, :k] * np.cos(radians) + axes[:, k:] * np.sin(radians)


@given(degrees=st.lists(st.floats(0, 90), min_size=1, max_size=5), seed=SEEDS)
def test_known_angles_are_found_whatever_basis_spans_the_subspaces(degrees: list[float], seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = turned(degrees)
    k = len(degrees)
    mixed = second @ (random.normal(size=(k, k)) + 3 * k * np.eye(k))
    np.testing.assert_allclose(eq.principal_angles(3 * first[:, ::-1], mixed), sorted(degrees), atol=1e-10)


@pytest.mark.parametrize("tiny", [1e-10, 1e-6, 1e-3])
def test_small_angles_are_as_exact_as_large_ones(tiny: float) -> None:
    assert eq.principal_angles(*turned([tiny, 90 - tiny])) == pytest.approx([tiny, 90 - tiny], rel=1e-4, abs=1e-13)


@given(seed=SEEDS, m=st.integers(1, 4), n=st.integers(1, 4))
def test_angles_are_the_same_from_both_sides_and_lie_between_0_and_90(seed: int, m: int, n: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(8, m)), random.normal(size=(8, n))
    angles = eq.principal_angles(first, second)
    assert len(angles) == min(m, n)
    assert ((angles >= 0) & (angles <= 90 + 1e-9)).all()
    assert (np.diff(angles) >= 0).all()
    np.testing.assert_allclose(angles, eq.principal_angles(second, first), atol=1e-9)


def test_a_subspace_within_another_makes_no_angle_with_it() -> None:
    whole = np.random.default_rng(1).normal(size=(9, 4))
    np.testing.assert_allclose(eq.principal_angles(whole, whole[:, 1:3]), 0, atol=1e-12)
    assert eq.principal_angles(np.eye(4)[:, :2], np.eye(4)[:, 2:]).tolist() == [90, 90]


def test_a_batch_is_its_members() -> None:
    random = np.random.default_rng(2)
    first, second = random.normal(size=(3, 7, 2)), random.normal(size=(3, 7, 3))
    alone = [eq.principal_angles(a, b) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(angles_between(first, second), alone, atol=1e-10)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (np.ones((3, 1)), np.ones((4, 1)), r"second is an array \[3, m\]"),
        (np.ones((3, 2)), np.ones((3, 1)), "2 columns of first are linearly dependent"),
        (np.full((3, 1), np.nan), np.ones((3, 1)), "first .* finite"),
        (np.ones(3), np.ones((3, 1)), r"first is an array \[d, m\]"),
        ([["a"]], np.ones((1, 1)), "first .* real numbers"),
    ],
)
def test_what_spans_no_subspace_to_compare_is_refused(first: object, second: object, said: str) -> None:
    with pytest.raises(eq.EqlinError, match=said):
        eq.principal_angles(first, second)
