"""An analysis as JSON: every number in full, tokens as the text that they stand for."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from eqlin_core.command.analysis import Analysis
from eqlin_core.runs.answer import AnswerRun
from eqlin_core.runs.exactness import Exactness
from eqlin_core.runs.prompt import SpectrumRun, Target
from eqlin_core.runs.values import Row
from eqlin_core.version import __version__


def json_text(analysis: Analysis) -> str:
    """The analysis as one JSON object, in ASCII, with a line break at its end."""
    run = analysis.run
    terms, constant = analysis.terms
    content = {
        "eqlin": __version__,
        "model": run.key.model,
        "revision": run.key.revision,
        "dtype": run.key.dtype,
        "device": run.device,
        "gated_path": run.key.gated_path,
        "attention": run.key.attention,
        "baseline": run.baseline,
        "prompt": run.prompt,
        "chat": analysis.chat,
        "position": len(run.tokens) - 1,
        "width": run.width,
        "layers": run.n_layers,
        "tokens": _tokens(run.key.token_ids, run.tokens),
        "exactness": _exactness(analysis.exactness, run.bounds),
        "next_tokens": [_target(target) for target in run.targets],
        "explained": {
            **_target(analysis.target),
            "contributions": [_number(term) for term in terms],
            "constant": _number(constant),
            "sum": _number(analysis.total),
        },
        "spectra": None if analysis.spectra is None else _spectra(analysis.spectra),
        "answer": None if analysis.answer is None else _answer(analysis.answer),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _tokens(ids: Sequence[int], tokens: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": i, "token": token} for i, token in zip(ids, tokens, strict=True)]


def _exactness(exactness: Exactness, bounds: tuple[float, float]) -> dict[str, Any]:
    return {
        "exact": exactness.exact,
        "reconstruction": _number(exactness.reconstruction),
        "reconstruction_bound": bounds[0],
        "forward": _number(exactness.forward),
        "forward_bound": bounds[1],
        "leaks": exactness.leaks,
        "products": exactness.products,
    }


def _answer(answer: AnswerRun) -> dict[str, Any]:
    """The whole text, and of every token from ``first`` on its row: ``terms`` [rows][tokens], the others [rows]."""
    rows = {
        name: getattr(answer, name) for name in ("constants", "normalisers", "values", "log_probabilities", "errors")
    }
    return {
        "tokens": _tokens(answer.text.token_ids, answer.text.tokens),
        "roles": answer.text.roles,
        "first": answer.text.first,
        "terms": [[_number(term) for term in row] for row in answer.terms],
        **{name: [_number(value) for value in values] for name, values in rows.items()},
        "log_probability": _number(answer.log_probabilities.sum()),
        "exactness": _exactness(answer.exactness, answer.exactness.bounds),
    }


def _target(target: Target) -> dict[str, Any]:
    return {
        "id": target.token_id,
        "token": target.token,
        "probability": _number(target.probability),
        "logit": _number(target.logit),
    }


def _spectra(spectra: SpectrumRun) -> list[dict[str, Any]]:
    """One entry a token, its triplets the largest first."""
    return [
        {
            "token": token,
            "stable_rank": _number(spectra.stable_rank[i]),
            "triplets": [
                {"sigma": _number(sigma), "writes": _row(writes), "reads": _row(reads)}
                for sigma, writes, reads in zip(spectra.S[i], spectra.reads_u[i], spectra.reads_v[i], strict=True)
            ],
        }
        for i, token in enumerate(spectra.tokens)
    ]


def _row(row: Row) -> list[dict[str, Any]]:
    return [{"token": token, "score": _number(score)} for token, score in row]


def _number(value: float) -> float | None:
    """JSON knows no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None
