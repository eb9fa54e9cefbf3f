"""While the tests run, every call of the engine is checked: the types of its arguments, the shapes of its arrays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

from eqlin_core.figures import visible_token
from eqlin_core.freezing.mixing import mix

WEIGHTS = torch.ones(1, 4, 3, 5)


def test_arrays_whose_dimensions_do_not_fit_each_other_are_refused() -> None:
    assert mix(WEIGHTS, torch.ones(2, 2, 5, 8)).shape == (2, 3, 4, 8)
    with pytest.raises(TypeCheckError, match="value"):
        mix(WEIGHTS, torch.ones(2, 2, 6, 8))


def test_an_argument_of_another_type_is_refused_where_no_array_is_named_too() -> None:
    number: Any = 3
    assert visible_token(" a") == "·a"
    with pytest.raises(BeartypeCallHintViolation, match="token"):
        visible_token(number)
