"""Products of float32 numbers take all digits in a pass, whatever the process has set, and what it set comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import eqlin_core as eq
from eqlin_core.multiplication import products
from tests.cases import PROMPT, llama


def setting() -> str:
    return str(torch.backends.cuda.matmul.fp32_precision)


@pytest.fixture
def loose() -> Iterator[None]:
    """A process that multiplies by TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


class Spy(TorchDispatchMode):
    """Notes the setting at every product of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default, torch.ops.aten.addmm.default):
            self.seen.add(setting())
        return func(*args, **(kwargs or {}))


def test_within_the_context_and_not_after_it(loose: None) -> None:
    assert setting() == "tf32"
    with products():
        assert setting() == "ieee"
        with products("tf32"):
            assert setting() == "tf32"
        assert setting() == "ieee"
    assert setting() == "tf32"
    assert torch.get_float32_matmul_precision() == "high"


def test_it_is_put_back_where_a_pass_ends_in_an_error(loose: None) -> None:
    with pytest.raises(RuntimeError), products():
        raise RuntimeError
    assert setting() == "tf32"


def test_while_another_thread_wants_all_digits_nobody_gets_fewer() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with products():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    before = setting()
    with products("tf32"):
        thread.start()
        assert inside.wait(10)
        assert setting() == "ieee"
        leave.set()
        thread.join()
        assert setting() == "tf32"
    assert setting() == before


def test_every_pass_of_a_map_has_all_digits(loose: None) -> None:
    lm = llama(dtype=torch.float32)
    with Spy() as spy:
        lin = eq.linearize(lm, token_ids=PROMPT)
        lin.contributions()
        lin.jacobian()
        eq.spectrum(lin, 2)
        eq.read_output(lm, lin.output[None])
        lin.exactness()
    assert spy.seen == {"ieee"}
    assert setting() == "tf32"


def test_who_asks_for_tf32_gets_it_and_the_run_says_so() -> None:
    lm = llama(dtype=torch.float32)
    with Spy() as spy:
        lin = eq.linearize(lm, token_ids=PROMPT, products="tf32")
        lin.contributions()
    assert spy.seen == {"tf32"}
    exactness = lin.exactness()
    assert (exactness.products, exactness.arithmetic) == ("tf32", "float32, products in TF32")
    assert exactness.bounds > eq.linearize(lm, token_ids=PROMPT).exactness().bounds
    assert "products='tf32'" in repr(lin)


@pytest.mark.parametrize(
    ("given", "dtype", "said"),
    [("bf16", torch.float32, "products"), ("tf32", torch.float64, "TF32 multiplies float32 numbers")],
)
def test_another_way_to_multiply_is_refused(given: Any, dtype: torch.dtype, said: str) -> None:
    with pytest.raises(eq.EqlinError, match=said):
        eq.linearize(llama(dtype=dtype), token_ids=PROMPT, products=given)
