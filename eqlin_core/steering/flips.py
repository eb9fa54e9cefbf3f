"""The smallest strength at which steering changes the next token into a given one, from real passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from eqlin_core import arguments
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.progress import Progress, report
from eqlin_core.runs.steering import Flip, FormName
from eqlin_core.steering.generation import read_prompt
from eqlin_core.steering.injection import MAX_STRENGTH
from eqlin_core.steering.metrics import steered_logits
from eqlin_core.steering.operators import SteeringOperator

# Strengths looked at in one batch: of the first scan, and of each refinement, which narrows the gap by one more.
_SCAN, _SECTIONS = 41, 7


def flip_strength(
    lm: LanguageModel,
    prompt: str | None = None,
    operator: SteeringOperator | None = None,
    token: str | int = "",
    *,
    token_ids: Sequence[int] | None = None,
    maximum: float = 2.0,
    tolerance: float = 1e-3,
    form: FormName = "reference",
    block: int | None = None,
    chat: bool = False,
    scanned: Mapping[float, int] | None = None,
    progress: Progress | None = None,
) -> Flip:
    """The smallest strength in [0, maximum] at which the likeliest next token is ``token`` (text or id).

    A scan of 41 strengths finds the first that gives the token, sections between it and the one before narrow it down
    to ``tolerance``, all on real passes; what flips and flips back between two strengths of the scan is missed.
    ``scanned`` (next token by strength, from 0 on) takes the place of the scan where such passes were made already.
    Raises EqlinError for a token that is not one, a bad maximum or tolerance, and as ``steer``.
    """
    ids = read_prompt(lm, prompt, token_ids, chat=chat)
    if operator is None:
        raise EqlinError("A flip strength needs an operator: make one with steering_operator(lm, concept).")
    maximum = arguments.number("maximum", maximum, highest=MAX_STRENGTH, above=0)
    tolerance = arguments.number("tolerance", tolerance, above=0)
    arguments.called("progress", progress)
    scanned = None if scanned is None else _scan(scanned)
    wanted = token_id(lm, token)
    (name,) = lm.token_strings([wanted])

    def winners(strengths: list[float]) -> list[int]:
        rows = [ids] * len(strengths)
        return steered_logits(lm, rows, 1, operator, strengths, form=form, block=block)[:, -1].argmax(-1).tolist()

    report(progress, 0.0, "Flip strength")
    if scanned is None:
        grid = [maximum * i / (_SCAN - 1) for i in range(_SCAN)]
        likeliest = winners(grid)
    else:
        grid, likeliest = sorted(scanned), [scanned[s] for s in sorted(scanned)]
        maximum = grid[-1]
    first = next((i for i, winner in enumerate(likeliest) if winner == wanted), None)
    if first is None or first == 0:
        strength = None if first is None else 0.0
        return Flip(name, wanted, strength, None, lm.token_strings([likeliest[0]])[0], maximum)
    low, high, other = grid[first - 1], grid[first], likeliest[first - 1]
    while high - low > tolerance:
        report(progress, 0.5, "Flip strength")
        inner = [low + (high - low) * (i + 1) / (_SECTIONS + 1) for i in range(_SECTIONS)]
        if inner[0] <= low or inner[-1] >= high:
            break  # as narrow as floating point allows
        got = winners(inner)
        place = next((i for i, winner in enumerate(got) if winner == wanted), _SECTIONS)
        if place < _SECTIONS:
            high = inner[place]
        if place > 0:
            low, other = inner[place - 1], got[place - 1]
    high = _verified(winners, wanted, high, tolerance, maximum)
    return Flip(name, wanted, high, low, lm.token_strings([other])[0], maximum)


def _scan(scanned: Mapping[float, int]) -> dict[float, int]:
    takes = "the next tokens by strength, from 0 on"
    if not isinstance(scanned, Mapping) or not scanned:
        arguments.wrong_type("scanned", scanned, takes)
    return {
        arguments.number("A strength of scanned", strength, 0, MAX_STRENGTH): arguments.whole(
            "A token of scanned", token
        )
        for strength, token in scanned.items()
    }


def token_id(lm: LanguageModel, token: str | int) -> int:
    """The id of a token given as id or as text, which is read as typed or else after a space.

    Raises EqlinError when neither is a single token of the vocabulary.
    """
    if not isinstance(token, str):
        found = arguments.whole("token, unless it is a text,", token)
        if not 0 <= found < lm.vocab_size:
            raise InvalidValue(
                f"Token id {arguments.shown(found)} is outside this model's vocabulary of {lm.vocab_size} tokens."
            )
        return found
    if not arguments.text("token", token):
        arguments.wrong_value("token", token, "the text or the id of one token")
    if lm.tokenizer is None:
        raise EqlinError(f"{lm.name} has no tokenizer: give the token's id.")
    for text in dict.fromkeys((token, f" {token.strip()}")):
        ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) == 1:
            return int(ids[0])
    raise InvalidValue(
        f"{arguments.shown(token)} is not a single token of {lm.name}: give one token, such as the start of the word."
    )


def _verified(
    winners: Callable[[list[float]], list[int]], wanted: int, high: float, tolerance: float, maximum: float
) -> float:
    """``high`` when a pass of its own gives the token; rounding in another batch may need a hair more."""
    for _ in range(8):
        if winners([high]) == [wanted]:
            return high
        high = min(maximum, high + tolerance / 8)
    raise EqlinError("The flip strength is not stable in this precision: choose a higher one.")
