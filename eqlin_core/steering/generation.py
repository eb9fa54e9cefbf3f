"""Cached generation: one pass over the prompt, then a pass of one token a step, for any number of rows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import wide
from eqlin_core.errors import EqlinError
from eqlin_core.models.caches import GrowingText
from eqlin_core.models.experts import fitting_experts
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.models.prompts import CheckedIds, prompt_ids
from eqlin_core.models.texts import chat_ids
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report
from eqlin_core.reprs import Facts, ShortRepr, counted, excerpt


@dataclass(frozen=True, eq=False, repr=False)
class Generation(ShortRepr):
    """What was generated after a prompt: ``logits`` [steps, vocab] are those each token was chosen from.

    ``token_ids`` holds an end-of-text token where one came (``ended``), ``text`` does not. ``strength`` is 0 without
    steering, and a tuple where several operators were combined.
    """

    text: str
    token_ids: list[int]
    tokens: list[str]
    logits: Float[Tensor, "steps vocab"]
    prompt_ids: list[int]
    strength: float | tuple[float, ...]
    ended: bool

    def _facts(self) -> Facts:
        yield "text", excerpt(self.text, 80)
        yield "tokens", counted(len(self.token_ids), "token")
        yield "strength", f"strength {self.strength}"
        if self.ended:
            yield "end", "ended by itself"


# Below it a temperature makes infinities of the logits; the likeliest token is what is meant.
COLDEST = 1e-6


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: the likeliest at ``temperature`` 0, else drawn from the nucleus that holds ``top_p``.

    All rows share one random number a step, so rows with equal logits take equal tokens, and a batch draws what a
    single run draws. Raises EqlinError for a temperature or a share outside its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        temperature = arguments.number("temperature", self.temperature, 0)
        if 0 < temperature < COLDEST:
            arguments.wrong_value("temperature", self.temperature, f"0 (the likeliest token) or at least {COLDEST:g}")
        object.__setattr__(self, "temperature", temperature)
        object.__setattr__(self, "top_p", arguments.number("top_p", self.top_p, highest=1, above=0))
        object.__setattr__(self, "seed", arguments.seed("seed", self.seed))

    def chooser(self) -> Callable[[Tensor], Tensor]:
        """A function from logits [rows, vocab] to token ids [rows], with the random numbers of ``seed`` in order."""
        generator = torch.Generator().manual_seed(self.seed)

        def draw(logits: Tensor) -> Tensor:
            if self.temperature == 0:
                return logits.argmax(-1)
            sorted_p, order = (wide(logits) / self.temperature).softmax(-1).sort(-1, descending=True)
            total = sorted_p.cumsum(-1)
            # The smallest set that reaches top_p: a token is in it when those before it do not reach it.
            kept = (total - sorted_p < self.top_p).sum(-1, keepdim=True)
            mass = total.gather(-1, kept - 1)
            target = torch.rand(1, generator=generator, dtype=torch.float64).to(mass) * mass
            place = torch.minimum(torch.searchsorted(total, target, right=True), kept - 1)
            return order.gather(-1, place)[:, 0].to(logits.device)

        return draw


@dataclass(frozen=True)
class Settings:
    """How a prompt is continued: by how many tokens, how each is chosen, and what is kept of it.

    ``stop`` ends a text at the model's end of text; ``keep_logits`` keeps rows x tokens x vocabulary numbers. Raises
    EqlinError for a number of tokens that is none.
    """

    max_new_tokens: int = 24
    sampling: Sampling = field(default_factory=Sampling)
    stop: bool = True
    keep_logits: bool = True

    def __post_init__(self) -> None:
        most = arguments.whole("max_new_tokens", self.max_new_tokens, 1)
        object.__setattr__(self, "max_new_tokens", most)
        arguments.flag("stop", self.stop)
        arguments.flag("keep_logits", self.keep_logits)

    def ends(self, lm: LanguageModel) -> frozenset[int]:
        """The tokens of this model at which a text ends; none without ``stop``."""
        return end_tokens(lm) if self.stop else frozenset()


@runtime_checkable
class Intervention(Protocol):
    """What a generation is told about every pass before it runs; see ``eqlin_core.steering.steer``."""

    def hooked(self) -> AbstractContextManager[Any]:
        """Everything is in place inside this context and gone after it."""

    def restart(self) -> None:
        """The next pass begins at the first position again."""

    def advance(self, embeddings: Float[Tensor, "rows new d"]) -> None:
        """The embeddings of the positions that the next pass adds."""


def read_prompt(
    lm: LanguageModel,
    prompt: str | None,
    token_ids: Sequence[int] | None = None,
    *,
    chat: bool = False,
    followed_by: int = 1,
) -> CheckedIds:
    """The checked token ids of a prompt that ``followed_by`` more tokens will follow.

    With ``chat`` the prompt becomes a user's message in the model's own chat template. Raises EqlinError for a prompt
    that is empty or, with what follows, longer than the context, and for a model without tokenizer or template.
    """
    checked_model(lm)
    if arguments.flag("chat", chat) and prompt is not None and arguments.text("prompt", prompt).strip():
        ids = chat_ids(lm, [{"role": "user", "content": prompt}])
    else:
        ids = prompt_ids(lm, prompt, token_ids)
    require_room_to_grow(lm, ids, followed_by)
    return ids


def require_room_to_grow(lm: LanguageModel, ids: Sequence[int], followed_by: int) -> None:
    """Raise EqlinError where so many new tokens make the text longer than the model reads."""
    limit = lm.max_positions
    if limit is not None and len(ids) + followed_by > limit:
        room = limit - len(ids)
        way_out = f"generate at most {room}" if room > 0 else "shorten it"
        raise EqlinError(
            f"The prompt of {len(ids)} tokens with {followed_by} new ones is longer than the {limit} that this "
            f"model reads: {way_out}."
        )


def end_tokens(lm: LanguageModel) -> frozenset[int]:
    """The ids that end a text: the tokenizer's end-of-text token and the model's own list; none without tokenizer."""
    if lm.tokenizer is None:
        return frozenset()
    declared = getattr(getattr(lm.model, "generation_config", None), "eos_token_id", None)
    ids = list(declared) if isinstance(declared, list | tuple) else [declared]
    return frozenset(int(i) for i in [*ids, lm.tokenizer.eos_token_id] if i is not None)


@passes
@torch.no_grad()
def generate_rows(
    lm: LanguageModel,
    ids: Sequence[int],
    rows: int,
    settings: Settings,
    *,
    intervention: Intervention | None = None,
    progress: Progress | None = None,
    on_tokens: Callable[[list[list[int]]], Any] | None = None,
) -> tuple[list[list[int]], list[Float[Tensor, "steps vocab"]]]:
    """(new token ids, their logits) of ``rows`` continuations of one prompt, in one batch, by a cache if it has one.

    ``progress(fraction, message)`` is called before every pass and ``on_tokens(ids of every row so far)`` after it;
    either ends the generation by raising, or the former by False.
    """
    choose, most = settings.sampling.chooser(), settings.max_new_tokens
    ends = settings.ends(lm)
    embed = lm.model.get_input_embeddings()
    text = GrowingText(lm, ids, rows)
    new: list[list[int]] = [[] for _ in range(rows)]
    kept: list[Tensor] = []
    going = [True] * rows
    with ExitStack() as stack:
        stack.enter_context(fitting_experts(lm.model, lm.dtype))
        if intervention is not None:
            stack.enter_context(intervention.hooked())
        for step in range(most):
            report(progress, step / most, f"Token {step + 1} of {most}")
            if intervention is not None:
                if text.reads_again:
                    intervention.restart()
                # Before the first token all rows hold the same prompt.
                intervention.advance(embed(text.feed[:1] if step == 0 else text.feed))
            logits = text.logits()  # rows x vocab
            chosen = choose(logits)  # rows
            kept.append(logits) if settings.keep_logits else None
            for row, token in enumerate(chosen.tolist()):
                if going[row]:
                    new[row].append(token)
                    going[row] = token not in ends
            if on_tokens is not None:
                on_tokens([list(row) for row in new])
            if not any(going):
                break
            text.add(chosen)
    report(progress, 1.0, "Generated")
    nothing = torch.empty(0, 0)
    stacked = [torch.stack([step[row] for step in kept[: len(new[row])]]) if kept else nothing for row in range(rows)]
    return new, stacked


def text_of(lm: LanguageModel, prompt: Sequence[int], new: Sequence[int]) -> str:
    """The text that the tokens ``new`` add to the prompt; without a tokenizer, the tokens' names."""
    if lm.tokenizer is None:
        return "".join(lm.token_strings(new))
    before, whole = (lm.tokenizer.decode(list(part)) for part in (prompt, [*prompt, *new]))
    # A tokenizer that joins words drops the space before a first one, so the text is read in its place.
    return whole[len(before) :] if whole.startswith(before) else lm.tokenizer.decode(list(new))


def generation(
    lm: LanguageModel,
    ids: Sequence[int],
    new: list[int],
    logits: Float[Tensor, "steps vocab"],
    strength: float | tuple[float, ...],
    settings: Settings,
) -> Generation:
    """One row of ``generate_rows`` with its text."""
    ended = bool(new) and new[-1] in settings.ends(lm)
    text = text_of(lm, ids, new[:-1] if ended else new)
    return Generation(text, list(new), lm.token_strings(new), logits, list(ids), strength, ended)
