"""An analysis as JSON: every number in full, tokens as the text that they stand for."""

from __future__ import annotations

import json
import math
from typing import Any

from eqlin_core.command.analysis import Analysis
from eqlin_core.runs.prompt import SpectrumRun, Target
from eqlin_core.runs.values import Row
from eqlin_core.version import __version__


def json_text(analysis: Analysis) -> str:
    """The analysis as one JSON object, in ASCII, with a line break at its end."""
    run, exactness = analysis.run, analysis.exactness
    terms, constant = analysis.terms
    reconstruction_bound, forward_bound = run.bounds
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
        "width": run.width,
        "layers": run.n_layers,
        "tokens": [{"id": i, "token": token} for i, token in zip(run.key.token_ids, run.tokens, strict=True)],
        "exactness": {
            "exact": exactness.exact,
            "reconstruction": _number(exactness.reconstruction),
            "reconstruction_bound": reconstruction_bound,
            "forward": _number(exactness.forward),
            "forward_bound": forward_bound,
            "leaks": exactness.leaks,
            "products": exactness.products,
        },
        "next_tokens": [_target(target) for target in run.targets],
        "explained": {
            **_target(analysis.target),
            "contributions": [_number(term) for term in terms],
            "constant": _number(constant),
            "sum": _number(analysis.total),
        },
        "spectra": None if analysis.spectra is None else _spectra(analysis.spectra),
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


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
