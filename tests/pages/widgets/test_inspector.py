"""What a triplet is inspected with."""

from __future__ import annotations

import numpy as np
import pytest

from pages.widgets.inspector import cosine


def test_the_cosine_of_a_vector_with_nothing_is_zero() -> None:
    v = np.array([3.0, 4.0])
    assert cosine(v, 2 * v) == pytest.approx(1.0)
    assert cosine(v, 0 * v) == 0.0
