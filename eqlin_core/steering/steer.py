"""Text generated while the map of one prompt, applied to another, pushes the residual stream (Golden 2025, section 5).

The reference form adds to what enters one block, h_i <- h_i + strength * a_i ||h_i|| / (2 ||a_i||), with a_i of
``injection``; the form of equation 16 is h <- strength * h + (1 - strength) * a.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eqlin_core import arguments
from eqlin_core.errors import EqlinError
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import CheckedIds
from eqlin_core.progress import Progress
from eqlin_core.reprs import Facts, ShortRepr, counted
from eqlin_core.runs.steering import FormName
from eqlin_core.steering.forms import form_of
from eqlin_core.steering.generation import (
    Generation,
    Sampling,
    Settings,
    generate_rows,
    generation,
    read_prompt,
    text_of,
)
from eqlin_core.steering.injection import Injection, Operators, Strength


def steer(
    lm: LanguageModel,
    prompt: str | None = None,
    operator: Operators | None = None,
    strength: Strength = 1.0,
    max_new_tokens: int = 24,
    *,
    token_ids: Sequence[int] | None = None,
    form: FormName = "reference",
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
    settings = Settings(max_new_tokens, Sampling(temperature, top_p, seed), stop)
    ids = read_prompt(lm, prompt, token_ids, chat=chat, followed_by=settings.max_new_tokens)
    arguments.called("progress", progress)
    arguments.called("on_token", on_token)
    form_of(form)
    ends = settings.ends(lm)

    def tell(rows: list[list[int]]) -> None:
        assert on_token is not None
        on_token(text_of(lm, ids, [i for i in rows[0] if i not in ends]), rows[0])

    injection = None if operator is None else Injection(lm, operator, [strength], form=form, block=block)
    (row,) = _generations(lm, ids, injection, settings, progress, tell if on_token else None)
    return row


@dataclass(frozen=True, eq=False, repr=False)
class SteeringSweep(ShortRepr, Sequence[Generation]):
    """One generation for each strength, in their order: ``sweep[i]``, ``len(sweep)``, ``for generation in sweep``."""

    generations: list[Generation]

    def _facts(self) -> Facts:
        yield "generations", counted(len(self), "generation")
        if self.generations:
            yield "strengths", f"strengths {self.strengths[0]} to {self.strengths[-1]}"

    @property
    def strengths(self) -> list[float | tuple[float, ...]]:
        """The strengths, as they were asked for."""
        return [g.strength for g in self.generations]

    def __len__(self) -> int:
        return len(self.generations)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):  # a loop over all of them ends with the IndexError of the list
            index = arguments.whole("The index of a generation", index)
        return self.generations[index]


def steering_sweep(
    lm: LanguageModel,
    prompt: str | None = None,
    operator: Operators | None = None,
    strengths: Sequence[Strength] = (),
    max_new_tokens: int = 24,
    *,
    token_ids: Sequence[int] | None = None,
    form: FormName = "reference",
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
    settings = Settings(max_new_tokens, Sampling(temperature, top_p, seed), stop, keep_logits)
    ids = read_prompt(lm, prompt, token_ids, chat=chat, followed_by=settings.max_new_tokens)
    arguments.called("progress", progress)
    arguments.called("on_tokens", on_tokens)
    if operator is None:
        raise EqlinError("A sweep needs an operator: make one with steering_operator(lm, concept).")
    strengths = _listed(strengths)
    if not strengths:
        raise EqlinError("A sweep needs at least one strength.")
    return sweep_of(lm, ids, Injection(lm, operator, strengths, form=form, block=block), settings, progress, on_tokens)


def _listed(strengths: Any) -> list[Strength]:
    if getattr(strengths, "ndim", 0) == 2 and not (
        arguments.is_sparse(strengths) or getattr(strengths, "is_meta", False)
    ):
        strengths = strengths.tolist()  # a row for each strength, a column for each operator
    return arguments.several("strengths", strengths, "a list of strengths")


def sweep_of(
    lm: LanguageModel,
    ids: CheckedIds,
    injection: Injection,
    settings: Settings,
    progress: Progress | None = None,
    on_tokens: Callable[[list[list[int]]], Any] | None = None,
) -> SteeringSweep:
    """``steering_sweep`` for a prompt that was read, with what pushes and how to generate as one object each."""
    return SteeringSweep(_generations(lm, ids, injection, settings, progress, on_tokens))


def _generations(
    lm: LanguageModel,
    ids: CheckedIds,
    injection: Injection | None,
    settings: Settings,
    progress: Progress | None,
    on_tokens: Callable[[list[list[int]]], Any] | None,
) -> list[Generation]:
    """One generation for each strength of the injection; a single unsteered one without it."""
    strengths = [0.0] if injection is None else injection.strengths
    new, logits = generate_rows(
        lm, ids, len(strengths), settings, intervention=injection, progress=progress, on_tokens=on_tokens
    )
    rows = zip(new, logits, strengths, strict=True)
    return [generation(lm, ids, row, z, strength, settings) for row, z, strength in rows]
