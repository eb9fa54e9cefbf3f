"""What the engine can do, step by step, with results that can be compared between devices."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch

import eqlin_core as eq
from eqlin_core import LanguageModel
from eqlin_core.analysis.early import early_spectra
from eqlin_core.analysis.matrix import matrix_run, reconstruction
from eqlin_core.analysis.prompt import spectrum_run, token_preview, token_run
from eqlin_core.analysis.ranks import joint_run, rank_run
from eqlin_core.attribution.deletion import Deleter
from eqlin_core.freezing import probes
from eqlin_core.freezing.hidden_leaks import find_hidden_leaks
from eqlin_core.layers.direct import direct_terms
from eqlin_core.resources.plan import ROUGH_DTYPE
from eqlin_core.steering.flips import flip_strength
from eqlin_core.steering.forecast import steering_forecast
from eqlin_core.steering.metrics import concept_continuation, steering_metrics
from eqlin_core.steering.operators import operator_from_bytes
from eqlin_core.studies.measures import MEASURES
from eqlin_core.studies.tables import TABLES
from tests.devices.pretended import Held

Made = dict[str, Any]
Step = Callable[[LanguageModel, list[int], Made], Any]


def _sweep(method: str, mode: str = "cumulative") -> Step:
    return lambda lm, ids, made: eq.layer_sweep(lm, token_ids=ids, k=2, method=method, mode=mode).S


def _steered(**more: Any) -> Step:
    def step(lm: LanguageModel, ids: list[int], made: Made) -> Any:
        return eq.steer(lm, token_ids=ids[:5], operator=made["operator"], max_new_tokens=3, **more).logits

    return step


def _sampled(lm: LanguageModel, ids: list[int], made: Made) -> Any:
    logits = _steered(temperature=1.0, top_p=0.9)(lm, ids, made)
    # In half precision the rounding of another kernel is enough for another word, after which nothing is alike.
    return logits if lm.dtype in ROUGH_DTYPE else logits[:1]


def _forecast(lm: LanguageModel, ids: list[int], made: Made) -> Any:
    found = steering_forecast(lm, ids[:5], made["operator"], [0.0, 0.5], [3, 4])
    # A derivative by differences holds the rounding of half precision several times.
    return found if lm.dtype in ROUGH_DTYPE else (found.real, found.frozen)


def _metrics(lm: LanguageModel, ids: list[int], made: Made) -> Any:
    said = concept_continuation(lm, made["operator"], 3)
    return steering_metrics(lm, made["steering sweep"].generations, made["operator"], said)


def _flip(lm: LanguageModel, ids: list[int], made: Made) -> Any:
    other = made["steering sweep"].generations[2].token_ids[0]
    return flip_strength(lm, token_ids=ids[:5], operator=made["operator"], token=other).strength


def _exact(found: eq.Exactness) -> Any:
    assert found.exact, found
    return found.exact


def _cancelled(lin: eq.LinearMap) -> bool:
    """Whether a matrix ends where its progress says so, which is told on the caller's own thread alone."""
    lin = eq.linearize(lin.lm, token_ids=lin.token_ids, memory_budget=1)  # a row at a time
    threads: list[int] = []

    def progress(fraction: float | None, message: str) -> bool:
        threads.append(threading.get_ident())
        return len(threads) < 5

    try:
        lin.jacobian(progress)
    except eq.Cancelled:
        return len(threads) == 5 and set(threads) == {threading.get_ident()} and not lin.has_jacobian
    return False


def _scipy(lin: eq.LinearMap) -> Any:
    x = lin.inputs.detach().cpu().double().flatten().numpy()
    return lin.as_scipy() @ x


def _early(lin: eq.LinearMap) -> Any:
    *_, last = early_spectra(lin, [2, 5], 2)
    return last.S[[2, 5]]


def _refined(lin: eq.LinearMap) -> Any:
    if lin.inputs.dtype not in ROUGH_DTYPE or len({p.device for p in lin.lm.model.parameters()}) > 1:
        return eq.spectrum(lin, 3).S  # which a run in half precision, or on two devices, is referred to
    return eq.spectrum(lin, 3, method="refined").S


def _lens(kind: str, positions: str = "future") -> Step:
    return lambda lm, ids, made: eq.fit_lens(lm, [ids, ids[:5]], kind, positions=positions, skip=1)


def _read(lens: str) -> Step:
    return lambda lm, ids, made: eq.read_lens(lm, token_ids=ids, lens=made.get(lens, lens or None)).log_probabilities


def _others(ids: list[int]) -> list[list[int]]:
    """Three prompts of one length."""
    return [ids, ids[::-1], [*ids[1:], 3]]


def _exact_together(maps: eq.MapsTogether) -> list[bool]:
    return [bool(_exact(found)) for found in maps.exactness()]


def _terms_together(lm: LanguageModel, ids: list[int], made: Made) -> Any:
    maps = made["maps together"]
    found = direct_terms(maps.whole, lm.unembedding[:2].expand(len(maps), -1, -1))
    # Alone, what a norm without a bias adds is rounding.
    return dataclasses.replace(found, rest=found.rest + found.embedding)


def _heads(lm: LanguageModel, ids: list[int], made: Made) -> Any:
    found = eq.direct_contributions(made["linearize"], lm.unembedding[:2])
    return dataclasses.replace(found, norm_bias=found.norm_bias + found.total)  # as above


def _counterfactual(lm: LanguageModel, ids: list[int], made: Made) -> Any:
    return eq.counterfactual(made["linearize"], [*ids[:2], 9, *ids[3:-1], 8], lm.unembedding[:2])


def _valid(towards: int | None) -> Step:
    def step(lm: LanguageModel, ids: list[int], made: Made) -> Any:
        way = lm.unembedding[4] if towards is None else towards
        found = eq.validity(made["linearize"], 2, way, points=5)
        # The radius is a place between two measured points; which of two tokens is ahead there, rounding decides.
        return found.divergence, found.parts, found.hidden, found.radius < 1

    return step


def _study(lm: LanguageModel, ids: list[int], made: Made) -> Any:
    """The numbers of every measure but those that a clock, rounding or a sign decides."""
    prompts = [{"token_ids": one, "key": str(n)} for n, one in enumerate((*_others(ids), ids[:5]))]
    own = [name for name in MEASURES if name != "steering"]  # which names a concept by a tokenizer
    with tempfile.TemporaryDirectory() as folder:
        study = eq.run_study(prompts, lm, folder, own, k=2)
        assert not study.failures, study.failures
        frames = [study.table(table).select_dtypes("number") for table in TABLES]
    unlike = {"seconds", "reconstruction", "forward", "position_rank", "projection", "rank_agreement"}
    unlike |= {"rank_agreement_rest", "predicted_rank", "top_id"}
    return [frame[c].to_numpy(float) for frame in frames for c in frame.columns if c not in unlike]


def _after_a_change(lm: LanguageModel, ids: list[int]) -> Any:
    """Whether norms are asked anew, and the contributions, after one was changed in a way that no version tells."""
    eq.linearize(lm, token_ids=ids)
    vectors = (weight for weight in lm.model.parameters() if weight.dim() == 1)
    next(vectors).data.mul_(2)
    with mock.patch.object(probes, "_State", wraps=probes._State) as noted:
        changed = eq.linearize(lm, token_ids=ids).contributions()
    return noted.call_count > 0, changed


# Later steps use what earlier ones have made. Singular vectors are compared by what they give back.
STEPS: dict[str, Step] = {
    "plan": lambda lm, ids, made: eq.plan_run(lm, len(ids)) and None,
    "linearize": lambda lm, ids, made: eq.linearize(lm, token_ids=ids),
    "output and bias": lambda lm, ids, made: (made["linearize"].output, made["linearize"].bias),
    "contributions": lambda lm, ids, made: made["linearize"].contributions(),
    "exactness": lambda lm, ids, made: _exact(made["linearize"].exactness()),
    "against the mean": lambda lm, ids, made: made["linearize"].against("mean"),
    "matrix": lambda lm, ids, made: made["linearize"].jacobian(),
    "exactness with the matrix": lambda lm, ids, made: _exact(made["linearize"].exactness()),
    "cancelled": lambda lm, ids, made: _cancelled(made["linearize"]),
    "apply": lambda lm, ids, made: made["linearize"].apply(made["linearize"].inputs[None]),
    "adjoint": lambda lm, ids, made: made["linearize"].adjoint(made["linearize"].output[None]),
    "logit split": lambda lm, ids, made: made["linearize"].logit_split(lm.unembedding[:3]),
    "split of tokens": lambda lm, ids, made: made["linearize"].logit_split([3, 4], baseline="mean"),
    "SciPy operator": lambda lm, ids, made: _scipy(made["linearize"]),
    "spectrum": lambda lm, ids, made: eq.spectrum(made["linearize"], 4),
    "singular values": lambda lm, ids, made: (made["spectrum"].S, made["spectrum"].stable_rank),
    "refined spectrum": lambda lm, ids, made: _refined(made["linearize"]),
    "joint spectrum": lambda lm, ids, made: eq.spectrum(made["linearize"], 4, joint=True).S,
    "truncated": lambda lm, ids, made: eq.truncate(made["linearize"], made["spectrum"]).divergence,
    "truncated, every rank": lambda lm, ids, made: eq.truncate(made["linearize"]).error,
    "truncated jointly": lambda lm, ids, made: eq.truncate(made["linearize"], joint=True).error,
    "top triplets": lambda lm, ids, made: eq.top_triplets(made["linearize"], 3).S,
    "top triplets of a token": lambda lm, ids, made: eq.top_triplets(made["linearize"], 3, token=2).S,
    "read output": lambda lm, ids, made: eq.read_output(lm, made["linearize"].output[None]),
    "read input": lambda lm, ids, made: eq.read_input(lm, made["linearize"].output[None]),
    "token run": lambda lm, ids, made: token_run(made["linearize"], "x").contributions,
    "preview": lambda lm, ids, made: token_preview(made["linearize"], "x").bias,
    "spectrum run": lambda lm, ids, made: spectrum_run(made["linearize"], 4).S,
    "early spectra": lambda lm, ids, made: _early(made["linearize"]),
    "matrix run": lambda lm, ids, made: matrix_run(made["linearize"], 1).column_norms,
    "reconstruction": lambda lm, ids, made: reconstruction(made["linearize"], ("norms",)).reconstructed,
    "joint run": lambda lm, ids, made: joint_run(made["linearize"], 4).S,
    "rank run": lambda lm, ids, made: rank_run(made["linearize"], 4).error,
    "partly frozen": lambda lm, ids, made: eq.partly_frozen(made["linearize"], ("attention",)).contributions,
    "ordinary Jacobian": lambda lm, ids, made: eq.ordinary_jacobian(lm, token_ids=ids),
    "float64 check": lambda lm, ids, made: eq.precision_check(made["linearize"]).contributions < 1e-3,
    "maps together": lambda lm, ids, made: eq.linearize_together(lm, _others(ids)),
    "their contributions": lambda lm, ids, made: (made["maps together"].contributions(), made["maps together"].biases),
    "their exactness": lambda lm, ids, made: _exact_together(made["maps together"]),
    "their direct terms": _terms_together,
    "study": _study,
    "validity": _valid(4),
    "validity along a direction": _valid(None),
    "counterfactual": _counterfactual,
    "deletions": lambda lm, ids, made: Deleter(lm, ids, [5, 6]).leave_one_out(),
    "hidden effects": lambda lm, ids, made: eq.hidden_effects(made["linearize"], lm.unembedding[:2]),
    "layers, forward": _sweep("forward"),
    "layers, reverse": _sweep("reverse"),
    "layers one by one": _sweep("forward", "layerwise"),
    "heads": _heads,
    "hidden leaks": lambda lm, ids, made: len(find_hidden_leaks(made["linearize"].network, 1e-4)),
    "lens": _lens("frozen"),
    "lens' matrices": lambda lm, ids, made: (made["lens"].matrices, made["lens"].spread),
    "lens, norms frozen": lambda lm, ids, made: _lens("norms-frozen")(lm, ids, made).matrices,
    "lens of the last position": lambda lm, ids, made: _lens("frozen", "last")(lm, ids, made).matrices,
    "lens, Jacobian": lambda lm, ids, made: _lens("jacobian")(lm, ids, made).matrices,
    "lens, R-lens": lambda lm, ids, made: _lens("r-lens", "same")(lm, ids, made).matrices,
    "read through the lens": _read("lens"),
    "read through the exact map": _read("exact"),
    "logit lens": _read(""),
    "lens against the exact map": lambda lm, ids, made: eq.lens_cosines(lm, made["lens"], token_ids=ids, token=5),
    "operator": lambda lm, ids, made: eq.steering_operator(lm, token_ids=ids[:4], layers=2),
    "operator's matrix": lambda lm, ids, made: made["operator"].J,
    "operator from a file": lambda lm, ids, made: operator_from_bytes(made["operator"].to_bytes(), "x", lm).J,
    "random operator": lambda lm, ids, made: eq.random_operator(made["operator"]),
    "angle": lambda lm, ids, made: eq.operator_angle(made["operator"], made["random operator"]),
    "steer": _steered(),
    "steer, sampled": _sampled,
    "steering sweep": lambda lm, ids, made: eq.steering_sweep(
        lm, token_ids=ids[:5], operator=made["operator"], strengths=[0.0, 0.5, 1.0], max_new_tokens=3
    ),
    "metrics": _metrics,
    "flip": _flip,
    "forecast": _forecast,
    "after a change": lambda lm, ids, made: _after_a_change(lm, ids),
}


# What is made for later steps, and would be compared with itself by them.
_MEANS = ("linearize", "maps together", "spectrum", "lens", "operator", "random operator", "steering sweep")


def run_steps(
    lm: LanguageModel, ids: list[int], only: Sequence[str] = ()
) -> Iterator[tuple[str, list[np.ndarray] | Exception]]:
    """(step, its numbers, or the error that it ended in) of every step, or of ``only`` these."""
    made: Made = {}
    for name, step in STEPS.items():
        if only and name not in only:
            continue
        try:
            made[name] = step(lm, ids, made)
            yield name, [] if name in _MEANS else list(numbers(made[name]))
        except Exception as error:
            yield name, error


def numbers(value: Any) -> Iterator[np.ndarray]:
    """All numbers of a result, in order: of tensors wherever they are, arrays, and what holds such."""
    if isinstance(value, torch.Tensor):
        elem = value.elem if isinstance(value, Held) else value
        yield elem.detach().cpu().double().numpy()
    elif isinstance(value, np.ndarray | bool | int | float):
        yield np.asarray(value, dtype=np.float64)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from numbers(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from numbers(part)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            yield from numbers(part)


def farthest(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest difference between the numbers of two results, relative to the largest number of its array."""
    if [a.shape for a in found] != [b.shape for b in expected]:
        return math.inf
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return math.inf
        there = np.isfinite(b)
        if there.any():
            worst = max(worst, float(np.abs(a - b)[there].max() / max(float(np.abs(b[there]).max()), 1e-12)))
    return worst
