"""The push of steering operators on the residual stream, between the passes of a generation.

With the operator J of a concept of n tokens and the embeddings x of the new prompt and of every generated token, the
push at position i is a_i = sum_{k<=i} J_{k mod n} x_k; a form says what it does to what enters one block. Position i
needs only positions up to i, so with a key-value cache a step costs one token's pass.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import coefficient_dtype, has_float64
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.sites import block_input, find_layers, replace_block_input
from eqlin_core.runs.steering import FormName
from eqlin_core.steering.forms import form_of
from eqlin_core.steering.operators import SteeringOperator, check_block, checked_operator

# In the reference form a push of strength 2 is as long as the residual stream itself; text is noise long before this.
MAX_STRENGTH = 100.0
Operators = SteeringOperator | Sequence[SteeringOperator]
Strength = float | int | Sequence[float | int]


class Injection:
    """The push of one or more operators on a batch of rows, each row with its own strengths; hooks for a while.

    Between passes it remembers how far it has read and the running sum of every operator, so a pass brings only new
    positions. ``strengths`` holds one entry a row: a number, or a tuple for several operators.
    """

    def __init__(
        self,
        lm: LanguageModel,
        operator: Operators,
        strengths: Sequence[Strength],
        *,
        form: FormName = "reference",
        block: int | None = None,
        negative: bool = False,
    ) -> None:
        takes = "a SteeringOperator, or a list of at least one"
        given = [operator] if isinstance(operator, SteeringOperator) else operator
        operators = [checked_operator("operator", o) for o in arguments.several("operator", given, takes, least=1)]
        self.lm, self.form = lm, form_of(form)
        if len(operators) > 1 and not self.form.combines:
            raise EqlinError("Operators are combined in the reference form only; give one for the interpolation.")
        for one in operators:
            one.require_fit(lm)
        self.strengths = [_checked(strength, len(operators), negative) for strength in strengths]
        table = torch.tensor([[s] if isinstance(s, float) else s for s in self.strengths], dtype=torch.float64)
        blocks = [one.block if block is None else check_block(lm, block) for one in operators]
        self._operators = operators
        self.restart()
        self._at = {b: [i for i, other in enumerate(blocks) if other == b] for b in sorted(set(blocks))}
        self._strengths = table.to(lm.device, torch.float64 if has_float64(lm.device) else torch.float32)
        self._pushes: list[Tensor] = []

    @contextmanager
    def hooked(self) -> Iterator[Injection]:
        """In this thread the blocks answer with pushed inputs inside this context, and as before after it."""
        layers = find_layers(self.lm.decoder, self.lm.n_layers)
        with ExitStack() as stack:
            for block, which in self._at.items():
                handle = layers[block].register_forward_pre_hook(self._hook(which), with_kwargs=True)
                stack.callback(handle.remove)
            yield self

    def restart(self) -> None:
        """The next pass begins at the first position again."""
        self._sums = [RunningSum(one) for one in self._operators]

    def advance(self, embeddings: Float[Tensor, "rows new d"]) -> None:
        """Add the next positions to the running sums; a single row stands for all rows alike."""
        self._pushes = [one.advance(embeddings) for one in self._sums]

    def _hook(self, which: list[int]) -> Callable[..., Any]:
        thread = threading.get_ident()

        def enter(_module: Any, args: Any, kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return None  # somebody else's pass between two of this one's
            return replace_block_input(args, kwargs, self._pushed(block_input(args, kwargs), which))

        return enter

    def _pushed(self, h: Tensor, which: list[int]) -> Tensor:
        """What enters the block instead of h [rows, new, d]; exactly h where a strength asks for nothing."""
        if len(h) == 1:  # one row stood for all up to here
            h = h.expand(len(self.strengths), -1, -1)
        total, touched = None, None
        for i in which:
            a = self._pushes[i].to(h.device)
            strength = self._strengths[:, i].to(a)[:, None, None]  # rows x 1 x 1
            acts = strength != self.form.unsteered
            step = torch.where(acts, self.form.units(strength) * self.form.delta(h, a), 0.0)
            total = step if total is None else total + step
            touched = acts if touched is None else touched | acts
        assert total is not None
        assert touched is not None
        return torch.where(touched, (h.to(total) + total).to(h.dtype), h)


class RunningSum:
    """a_i = sum_{k<=i} J_{k mod n} x_k over positions that come in one piece after the other."""

    def __init__(self, operator: SteeringOperator) -> None:
        self._J = operator.J.to(coefficient_dtype(operator.J.dtype))
        self._read = 0
        self._sum: Tensor | None = None

    def advance(self, embeddings: Float[Tensor, "rows new d"]) -> Float[Tensor, "rows new d"]:
        """a_i at the new positions, in the wider of both precisions, at least float32."""
        wide = torch.promote_types(self._J.dtype, coefficient_dtype(embeddings.dtype))
        if self._J.dtype != wide or self._J.device != embeddings.device:
            self._J = self._J.to(embeddings.device, wide)
        x = embeddings.to(wide)
        n, new = len(self._J), x.shape[1]
        terms = torch.empty_like(x)
        for j in range(min(n, new)):
            terms[:, j::n] = x[:, j::n] @ self._J[(self._read + j) % n].T
        if self._sum is not None:
            terms[:, 0] += self._sum
        sums = terms.cumsum(1)
        self._read += new
        self._sum = sums[:, -1]
        return sums


def _checked(strength: Strength, operators: int, negative: bool = False) -> float | tuple[float, ...]:
    """The strength as a float, or as a tuple of one for each operator."""
    values: list[Any] = list(strength) if isinstance(strength, list | tuple) else [strength]
    if len(values) != operators:
        raise InvalidValue(f"{operators} operators need {operators} strengths each time, not {len(values)}.")
    floats = []
    for given in values:
        value = arguments.as_number(given)
        if value is None or not math.isfinite(value):
            wrong = arguments.wrong_type if value is None else arguments.wrong_value
            wrong("A strength", given, f"a number from 0 to {MAX_STRENGTH:g}")
        floats.append(value)
        if value < 0 and not negative:
            raise InvalidValue(f"The strength {value:g} is negative: give 0 (unsteered) or more.")
        if value > MAX_STRENGTH:
            raise InvalidValue(
                f"The strength {value:g} is beyond {MAX_STRENGTH:g}; text breaks down at about 2 already."
            )
    return floats[0] if operators == 1 else tuple(floats)
