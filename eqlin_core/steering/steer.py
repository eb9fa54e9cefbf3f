"""Steering: the map of one prompt, applied to another, pushes the residual stream while text is generated.

With the operator J of a concept of n tokens and the embeddings x of the new prompt and of every generated token, the
push at position i is a_i = sum_{k<=i} J_{k mod n} x_k. The reference form adds it to what enters one block,

    h_i <- h_i + strength * a_i ||h_i|| / (2 ||a_i||),

and the form of Golden 2025, equation 16, is h <- strength * h + (1 - strength) * a. Position i needs only positions up
to i, so with a key-value cache a step costs one token's pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.errors import EqlinError
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.sites import find_layers
from eqlin_core.progress import Progress
from eqlin_core.steering.generation import Generation, Sampling, end_tokens, generate_rows, generation, read_prompt
from eqlin_core.steering.operators import SteeringOperator, check_block

Form = Literal["reference", "interpolation"]
FORMS: tuple[Form, ...] = ("reference", "interpolation")
# In the reference form a push of strength 2 is as long as the residual stream itself; text is noise long before this.
MAX_STRENGTH = 100.0

Operators = SteeringOperator | Sequence[SteeringOperator]
Strength = float | int | Sequence[float | int]


def steer(
    lm: LanguageModel,
    prompt: str | None = None,
    operator: Operators | None = None,
    strength: Strength = 1.0,
    max_new_tokens: int = 24,
    *,
    token_ids: Sequence[int] | None = None,
    form: Form = "reference",
    block: int | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    chat: bool = False,
    stop: bool = True,
    progress: Progress | None = None,
    on_token: Callable[[str, list[int]], Any] | None = None,
) -> Generation:
    """The prompt continued under ``operator`` at ``strength``; unsteered without operator, or at strength 0.

    Several operators act together, each with its own strength: ``operator=[a, b], strength=[0.5, 0.3]``. ``block``
    injects them elsewhere than they say. ``stop`` ends at the model's end of text. ``on_token(text, token_ids)`` is
    called after every token; it and ``progress`` may end the generation (``Cancelled``).
    Raises EqlinError for a bad prompt, strength or block, and for an operator that does not fit the model.
    """
    ids = read_prompt(lm, prompt, token_ids, chat, max_new_tokens)
    ends = end_tokens(lm) if stop else frozenset()

    def tell(rows: list[list[int]]) -> None:
        assert on_token is not None
        shown = [i for i in rows[0] if i not in ends]
        on_token(generation(lm, ids, shown, torch.empty(0, 0), 0.0, frozenset()).text, rows[0])

    injection = None
    if operator is not None:
        injection = Injection(lm, operator, [strength], form=form, block=block)
    new, logits = generate_rows(
        lm,
        ids,
        1,
        max_new_tokens,
        intervention=injection,
        sampling=Sampling(temperature, top_p, seed),
        stop=ends,
        progress=progress,
        on_tokens=tell if on_token else None,
    )
    shown = 0.0 if injection is None else injection.strengths[0]
    return generation(lm, ids, new[0], logits[0], shown, ends)


@dataclass(frozen=True, eq=False)
class SteeringSweep(Sequence[Generation]):
    """One generation for each strength, in their order: ``sweep[i]``, ``len(sweep)``, ``for generation in sweep``."""

    generations: list[Generation]

    @property
    def strengths(self) -> list[float | tuple[float, ...]]:
        """The strengths, as they were asked for."""
        return [g.strength for g in self.generations]

    def __len__(self) -> int:
        return len(self.generations)

    def __getitem__(self, index: Any) -> Any:
        return self.generations[index]


def steering_sweep(
    lm: LanguageModel,
    prompt: str | None = None,
    operator: Operators | None = None,
    strengths: Sequence[Strength] = (),
    max_new_tokens: int = 24,
    *,
    token_ids: Sequence[int] | None = None,
    form: Form = "reference",
    block: int | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    chat: bool = False,
    stop: bool = True,
    keep_logits: bool = True,
    progress: Progress | None = None,
    on_tokens: Callable[[list[list[int]]], Any] | None = None,
) -> SteeringSweep:
    """The prompt continued at every strength, all in one batch and one cache; each row is what ``steer`` gives alone.

    With several operators each entry of ``strengths`` is a sequence with one strength for each. Without
    ``keep_logits`` the generations hold none (they take rows x tokens x vocabulary numbers). ``on_tokens`` gets the
    ids of all rows after every step. Raises as ``steer``.
    """
    ids = read_prompt(lm, prompt, token_ids, chat, max_new_tokens)
    if operator is None:
        raise EqlinError("A sweep needs an operator: make one with steering_operator(lm, concept).")
    if hasattr(strengths, "tolist"):
        strengths = strengths.tolist()
    if not len(strengths):
        raise EqlinError("A sweep needs at least one strength.")
    injection = Injection(lm, operator, strengths, form=form, block=block)
    ends = end_tokens(lm) if stop else frozenset()
    new, logits = generate_rows(
        lm,
        ids,
        len(strengths),
        max_new_tokens,
        intervention=injection,
        sampling=Sampling(temperature, top_p, seed),
        stop=ends,
        keep_logits=keep_logits,
        progress=progress,
        on_tokens=on_tokens,
    )
    rows = zip(new, logits, injection.strengths, strict=True)
    return SteeringSweep([generation(lm, ids, row, z, strength, ends) for row, z, strength in rows])


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
        form: Form = "reference",
        block: int | None = None,
        negative: bool = False,
    ) -> None:
        operators = [operator] if isinstance(operator, SteeringOperator) else list(operator)
        if form not in FORMS:
            raise EqlinError(f"form is 'reference' or 'interpolation', not {form!r}.")
        if form == "interpolation" and len(operators) > 1:
            raise EqlinError("Operators are combined in the reference form only; give one for the interpolation.")
        for one in operators:
            one.require_fit(lm)
        self.lm, self.form = lm, form
        self.strengths = [_checked(strength, len(operators), negative) for strength in strengths]
        table = torch.tensor([[s] if isinstance(s, float) else s for s in self.strengths], dtype=torch.float64)
        blocks = [one.block if block is None else check_block(lm, block) for one in operators]
        self._sums = [RunningSum(one) for one in operators]
        self._at = {b: [i for i, other in enumerate(blocks) if other == b] for b in sorted(set(blocks))}
        self._strengths = table.to(lm.device)  # rows x operators
        self._pushes: list[Tensor] = []

    @contextmanager
    def hooked(self) -> Iterator[Injection]:
        """The blocks answer with pushed inputs inside this context and as before after it."""
        layers = find_layers(self.lm.model.get_decoder(), self.lm.n_layers)
        with ExitStack() as stack:
            for block, which in self._at.items():
                handle = layers[block].register_forward_pre_hook(self._hook(which), with_kwargs=True)
                stack.callback(handle.remove)
            yield self

    def advance(self, embeddings: Float[Tensor, "rows new d"]) -> None:
        """Add the next positions to the running sums; a single row stands for all rows alike."""
        self._pushes = [one.advance(embeddings) for one in self._sums]

    def _hook(self, which: list[int]) -> Callable[..., Any]:
        def enter(module: Any, args: Any, kwargs: Any) -> Any:
            h = args[0] if args else kwargs["hidden_states"]
            pushed = self._pushed(h, which)
            return ((pushed, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": pushed})

        return enter

    def _pushed(self, h: Tensor, which: list[int]) -> Tensor:
        """What enters the block instead of h [rows, new, d]; exactly h where a strength asks for nothing."""
        unchanged = 1.0 if self.form == "interpolation" else 0.0
        if len(h) == 1:  # one row stood for all up to here
            h = h.expand(len(self.strengths), -1, -1)
        total, touched = None, None
        for i in which:
            a = self._pushes[i].to(h.device)
            strength = self._strengths[:, i].to(a)[:, None, None]  # rows x 1 x 1
            step, acts = delta(h, a, self.form), strength != unchanged
            step = torch.where(acts, ((1 - strength) if self.form == "interpolation" else strength) * step, 0.0)
            total = step if total is None else total + step
            touched = acts if touched is None else touched | acts
        assert total is not None
        assert touched is not None
        return torch.where(touched, (h.to(total) + total).to(h.dtype), h)


class RunningSum:
    """a_i = sum_{k<=i} J_{k mod n} x_k over positions that come in one piece after the other."""

    def __init__(self, operator: SteeringOperator) -> None:
        self._J = operator.J.to(_wide(operator.J.dtype))
        self._read = 0
        self._sum: Tensor | None = None

    def advance(self, embeddings: Float[Tensor, "rows new d"]) -> Float[Tensor, "rows new d"]:
        """a_i at the new positions, in the wider of both precisions, at least float32."""
        wide = torch.promote_types(self._J.dtype, _wide(embeddings.dtype))
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


def delta(
    h: Float[Tensor, "rows new d"], a: Float[Tensor, "#rows new d"], form: Form = "reference"
) -> Float[Tensor, "rows new d"]:
    """What one unit adds to h: a ||h|| / (2 ||a||) in the reference form, a - h in the interpolation's."""
    wide = h.to(torch.promote_types(a.dtype, _wide(h.dtype)))
    if form == "interpolation":
        return a.to(wide) - wide
    size = a.norm(dim=-1, keepdim=True)
    # A push of length zero has no direction and is none.
    return a.to(wide) * torch.where(size > 0, wide.norm(dim=-1, keepdim=True) / (2 * size), 0.0)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype == torch.float64 else torch.float32


def _checked(strength: Strength, operators: int, negative: bool = False) -> float | tuple[float, ...]:
    """The strength as a float, or as a tuple of one for each operator."""
    several = isinstance(strength, Sequence) and not isinstance(strength, str)
    values: list[Any] = list(strength) if several else [strength]  # type: ignore[arg-type]
    if len(values) != operators:
        raise EqlinError(f"{operators} operators need {operators} strengths each time, not {len(values)}.")
    floats = []
    for given in values:
        if isinstance(given, bool) or not isinstance(given, Real) or not math.isfinite(given):
            raise EqlinError(f"A strength is a number from 0 to {MAX_STRENGTH:g}, not {given!r}.")
        value = float(given)
        floats.append(value)
        if value < 0 and not negative:
            raise EqlinError(f"The strength {value:g} is negative: give 0 (unsteered) or more.")
        if value > MAX_STRENGTH:
            raise EqlinError(f"The strength {value:g} is beyond {MAX_STRENGTH:g}; text breaks down at about 2 already.")
    return floats[0] if operators == 1 else tuple(floats)
