"""What deleting tokens does at one prompt, as runs: leave-one-out, what freezing hides, curves, the conventions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eqlin_core.analysis.prompt import run_key
from eqlin_core.attribution.deletion import REMOVAL, Deleter, Deletion
from eqlin_core.attribution.unfreezing import ORDER, hidden_effects
from eqlin_core.dtypes import to_numpy
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.maps.linearization import linearize
from eqlin_core.maps.targets import direction
from eqlin_core.models.baselines import MEAN
from eqlin_core.progress import Progress, part, report
from eqlin_core.runs.convention import Convention
from eqlin_core.runs.deletion import ConventionsRun, CurvesRun, HiddenRun, LeaveOneOutRun
from eqlin_core.runs.split import Split, TargetKind
from eqlin_core.runs.values import Array

# Points of a prompt's curves; a shorter prompt has one for every token.
CURVE_POINTS = 16


def leave_one_out_run(
    lin: LinearMap, targets: Sequence[int], deletion: Deletion = MEAN, progress: Progress | None = None
) -> LeaveOneOutRun:
    """T + 1 rows of the untouched model, one without each token. Raises EqlinError for an impossible deletion."""
    logits, log_probabilities = Deleter(lin.lm, lin.token_ids, targets, deletion).leave_one_out(progress)
    return LeaveOneOutRun(
        run_key(lin), deletion, list(lin.tokens), list(targets), to_numpy(logits), to_numpy(log_probabilities)
    )


def hidden_run(
    lin: LinearMap, kind: TargetKind, target: int, versus: int | None = None, progress: Progress | None = None
) -> HiddenRun:
    """Every token's deletion by the mean embedding, taken apart by what freezing holds fixed; parts sum to measured."""
    w = direction(lin, target, kind, versus=versus)
    found = hidden_effects(lin, w[None], MEAN, part(progress, 0.0, 0.8))
    parts = {"exact map": found.map, **{name: getattr(found, name) for name in ORDER}}
    arrays = {name: to_numpy(value[0]) for name, value in parts.items()}
    ids = [target] if versus is None else [target, versus]
    fallen = leave_one_out_run(lin, ids, MEAN, part(progress, 0.8, 1.0)).falls(kind, target, versus)
    curved = fallen - to_numpy(found.measured[0])
    if versus is None and kind == "log-probability":
        arrays["softmax"] = curved
        measured = fallen
    else:
        measured = to_numpy(found.measured[0])
    return HiddenRun(run_key(lin), list(lin.tokens), arrays, measured)


def curves_run(
    lin: LinearMap, split: Split, target: int, deletion: Deletion = MEAN, progress: Progress | None = None
) -> CurvesRun:
    """Tokens deleted, or all others, in the order of the exact split's terms, of leave-one-out, and of chance."""
    deleter = Deleter(lin.lm, lin.token_ids, [target], deletion)
    falls = deleter.leave_one_out(part(progress, 0.0, 0.3))[1][:, 0].numpy()
    terms = lin.logit_split(direction(lin, target, split.target)[None], split.baseline)[0][0]
    scores = {
        "exact split": to_numpy(terms),
        "leave-one-out": falls,
        "random": np.random.default_rng(0).permutation(lin.n_tokens).astype(float),
    }
    T = lin.n_tokens
    points = sorted({round(x) for x in np.linspace(0, T, min(CURVE_POINTS, T) + 1)})
    if deletion == REMOVAL:
        points = [n for n in points if 0 < n < T]  # something has to stay, whichever part is removed
    orders = {name: np.argsort(-value, kind="stable") for name, value in scores.items()}
    sets = [frozenset(map(int, order[:n])) for order in orders.values() for n in points]
    sets += [frozenset(map(int, order[n:])) for order in orders.values() for n in points]
    left = deleter.measure(sets, part(progress, 0.3, 1.0))[1][:, 0].numpy().reshape(2, len(orders), len(points))
    deleted, kept = ({name: left[i, j] for j, name in enumerate(orders)} for i in range(2))
    return CurvesRun(run_key(lin), list(lin.tokens), points, deleted, kept)


def conventions_run(
    lin: LinearMap,
    conventions: Sequence[Convention],
    split: Split,
    target: int,
    versus: int | None = None,
    progress: Progress | None = None,
) -> ConventionsRun:
    """The target of ``split`` by each of these maps, against its baseline: one recording and one reverse pass each."""
    w = direction(lin, target, split.target, versus=versus)
    rows: list[Array] = []
    constants: list[float] = []
    for n, convention in enumerate(conventions):
        report(progress, n / len(conventions), f"The map {convention.words}")
        same = convention == lin.convention
        other = lin if same else linearize(lin.lm, token_ids=lin.token_ids, **convention.keywords)
        begun, ended = n / len(conventions), (n + 1) / len(conventions)
        reports = part(progress, begun, ended, f"The map {convention.words}")
        terms, constant = other.logit_split(w[None], split.baseline, reports)
        rows.append(to_numpy(terms[0]))
        constants.append(float(constant))
        del other  # recordings need not share the memory
    return ConventionsRun(run_key(lin), list(lin.tokens), list(conventions), np.stack(rows), np.array(constants))
