"""Methods against the model itself: for every prompt, how far their scores foretell what deleting tokens does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from eqlin_core import arguments
from eqlin_core.attribution.deletion import REMOVAL, Deleter, Deletion
from eqlin_core.attribution.methods import (
    Explained,
    Method,
    attention_rollout,
    input_times_gradient,
    integrated_gradients,
    last_attention,
    random_scores,
    split_method,
)
from eqlin_core.attribution.prompts import Prompt, as_chat
from eqlin_core.dtypes import to_numpy
from eqlin_core.models.baselines import MEAN, ZERO, with_begin
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.models.prompts import prompt_ids
from eqlin_core.progress import Progress, report, shown
from eqlin_core.runs.chat import Message
from eqlin_core.runs.convention import PUBLISHED, Convention
from eqlin_core.runs.faithfulness import (
    AREA,
    RANK,
    RANK_REST,
    TRUTH_FIRST,
    TRUTH_RANK,
    Faithfulness,
    drop_name,
    how_many,
    rank_correlation,
)
from eqlin_core.runs.split import TARGET_KINDS, Split
from eqlin_core.runs.values import Array

LEAVE_ONE_OUT = "leave-one-out"
KS: tuple[int | float, ...] = (1, 2, 3, 0.05, 0.1, 0.2)
# Points of a deletion curve; a prompt of fewer tokens has one for each.
CURVE = 4
_BOTH = (ZERO, MEAN)


def standard_methods() -> list[Method]:
    """The exact splits that have names, with both targets and both baselines, and what they are compared with."""
    dials = (
        PUBLISHED,
        Convention("gate"),
        Convention("half"),
        Convention("half", "half"),
        Convention("half", "live"),
        Convention("up", "half"),
    )
    splits = [Split(target, baseline, dial) for dial in dials for target in TARGET_KINDS for baseline in _BOTH]
    return [
        *(split_method(split) for split in splits),
        *(input_times_gradient(target, baseline) for target in TARGET_KINDS for baseline in _BOTH),
        *(integrated_gradients(target, baseline) for target in TARGET_KINDS for baseline in _BOTH),
        last_attention(),
        attention_rollout(),
        random_scores(),
    ]


def faithfulness(
    lm: LanguageModel,
    prompts: Sequence[str | Prompt | Sequence[int] | Sequence[Message]],
    methods: Sequence[Method] | None = None,
    deletion: Deletion = MEAN,
    ks: Sequence[int | float] | None = KS,
    *,
    begin: bool = False,
    curve: int = CURVE,
    progress: Progress | bool | None = None,
) -> Faithfulness:
    """Each method on each prompt, against what deleting tokens does to the most likely next token's log-probability.

    ``methods``: ``standard_methods`` unless given; leave-one-out itself stands beside them as the ceiling.
    ``deletion``: "mean" (the mean embedding in a token's place), "removal", or a token. ``ks``: how many of the
    highest-scored tokens are deleted or kept, numbers or shares; none of these measures without them. ``curve``: points
    of the curves between which "area" is measured, 0 for none. ``begin`` puts the begin-of-text token before every
    prompt; it is never deleted and left out of every measure. Prompts are texts, token ids, chats
    (lists of messages, as `read_chat` gives them, in the model's template, whose tokens are deleted as all others), or
    those of ``prompt_list``. Raises EqlinError for what cannot be used, and ends as ``progress`` tells it to, as in
    ``LinearMap.jacobian``.
    """
    checked_model(lm)
    prompts = arguments.several("prompts", prompts, "a list of at least one prompt", least=1)
    takes = "a list of methods, as standard_methods gives them, or None"
    chosen = standard_methods() if methods is None else arguments.several("methods", methods, takes)
    for method in chosen:
        arguments.instance("Each of methods", method, Method, "a Method, as standard_methods gives them")
    if not isinstance(deletion, str):
        deletion = arguments.whole("deletion, unless it is a text,", deletion, 0)
    ks = (
        []
        if ks is None
        else [_how_many(k) for k in arguments.several("ks", ks, "a list of numbers and shares or None")]
    )
    begin, curve = arguments.flag("begin", begin), arguments.whole("curve", curve, 0)
    arguments.called("progress", progress, shows=True)
    kinds, tokens, chats, rows = [], [], [], []
    with shown(progress) as told:
        for n, prompt in enumerate(map(_prompt, prompts)):
            report(told, n / len(prompts), f"Prompt {n + 1} of {len(prompts)}")
            ids = _ids(lm, prompt, begin)
            kinds.append(prompt.kind if isinstance(prompt, Prompt) else "")
            tokens.append(len(ids) - begin)
            truth = prompt.known(lm, ids) if isinstance(prompt, Prompt) else []
            chats.append(isinstance(prompt, Prompt) and prompt.chat)
            rows.append(_measures(Explained(lm, ids), chosen, deletion, ks, int(begin), curve, truth))
        report(told, 1.0, "Faithfulness")
    return Faithfulness(
        model=lm.name,
        deletion=str(deletion),
        methods=[*(m.name for m in chosen), LEAVE_ONE_OUT],
        exact=[*(m.exact for m in chosen), False],
        kinds=kinds,
        tokens=tokens,
        values={name: np.array([row[name] for row in rows], dtype=float).T for name in rows[0]},
        chats=chats,
    )


def _how_many(k: object) -> int | float:
    """A number of tokens, or a share of them."""
    whole = arguments.as_whole(k)
    if whole is not None:
        return arguments.whole("Each of ks", whole, 1)
    return arguments.number("Each of ks, unless it is a whole number,", k, highest=1, above=0)


def _prompt(prompt: Any) -> Any:
    """Messages of a chat as a Prompt; anything else as it is."""
    messages = isinstance(prompt, list | tuple) and len(prompt) > 0 and isinstance(prompt[0], Mapping)
    return as_chat(prompt) if messages else prompt


def _ids(lm: LanguageModel, prompt: str | Prompt | Sequence[int], begin: bool) -> list[int]:
    if isinstance(prompt, Prompt):
        ids = prompt.ids(lm)
    else:
        ids = list(prompt_ids(lm, prompt) if isinstance(prompt, str) else prompt_ids(lm, None, prompt))
    return with_begin(lm, ids) if begin else ids


def _measures(
    prompt: Explained,
    methods: Sequence[Method],
    deletion: Deletion,
    ks: Sequence[int | float],
    first: int,
    curve: int,
    truth: Sequence[int],
) -> dict[str, list[float]]:
    """By measure, the value of every method and of leave-one-out, over the positions from ``first`` on."""
    deleter = Deleter(prompt.lm, prompt.token_ids, [prompt.token], deletion)
    falls = deleter.leave_one_out()[1][first:, 0].numpy()
    scores = [to_numpy(m.score(prompt))[first:] for m in methods]
    scores.append(falls)
    T = len(falls)
    found: dict[str, list[float]] = {
        RANK: [rank_correlation(s, falls) for s in scores],
        RANK_REST: [rank_correlation(s[1 - first :], falls[1 - first :]) for s in scores],
    }
    orders = [np.argsort(-s, kind="stable") for s in scores]  # highest first
    places_of_truth = [[r for r, i in enumerate(order) if i + first in truth] for order in orders]
    found[TRUTH_FIRST] = [float(p[0] == 0) if p else float("nan") for p in places_of_truth]
    found[TRUTH_RANK] = [1 / (1 + p[0]) if p else float("nan") for p in places_of_truth]
    sets: list[frozenset[int]] = []
    places: list[tuple[str, int]] = []
    allowed = T - (deletion == REMOVAL and first == 0)  # something has to stay
    for k in ks:
        n = how_many(k, T)
        for kept in (False, True):
            for order in orders:
                gone = order[n:] if kept else order[:n]
                sets.append(_positions(gone[:allowed], first))
                places.append((drop_name(k, kept), 1))
    points = sorted({round(x) for x in np.linspace(1, T - 1, min(curve, T - 1))}) if curve and T > 1 else []
    for n in points:
        for order in orders:
            sets += [_positions(order[:n], first), _positions(order[::-1][:n], first)]
            places += [(AREA, 1), (AREA, -1)]
    if not sets:
        return found
    whole, *without = deleter.measure([frozenset(), *sets])[1][:, 0].tolist()
    gathered: dict[str, list[float]] = {}
    for (name, sign), value in zip(places, without, strict=True):
        gathered.setdefault(name, []).append(sign * (whole - value))
    for name, values in gathered.items():
        if name == AREA:  # points x methods x (highest first, lowest first)
            areas = np.array(values).reshape(len(points), len(scores), 2).sum(2).mean(0)
            found[name] = areas.tolist()
        else:
            found[name] = values
    if curve and AREA not in found:
        found[AREA] = [float("nan")] * len(scores)
    return found


def _positions(order: Float[Array, " n"] | np.ndarray, first: int) -> frozenset[int]:
    return frozenset(int(i) + first for i in order)
