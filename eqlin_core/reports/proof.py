"""The proof in a report, as JSON: what was computed by what, how exact it is, and checksums of the runs in the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from eqlin_core.reports.contents import Programs, Report, Side
from eqlin_core.runs.split import Split


def proof_of(report: Report, stored: Mapping[str, bytes]) -> dict[str, Any]:
    """Everything that a report claims beside its charts; ``stored`` are the runs' bytes by their place in the file."""
    return {
        "eqlin": report.programs.version,
        "engine": report.programs.fingerprint,
        "plotly": report.programs.plotly,
        "kind": report.kind,
        "runs": [_of_run(side) for side in report.sides],
        "stored": {name: hashlib.sha256(content).hexdigest() for name, content in stored.items()},
    }


def programs_in(proof: Mapping[str, Any]) -> Programs:
    """What wrote the report, as its proof says. Raises ValueError where it does not."""
    said = [proof[name] for name in ("eqlin", "engine", "plotly")]
    if not all(isinstance(text, str) and len(text) < 200 for text in said):
        raise ValueError("programs")
    return Programs(*said)


def as_json(value: Any) -> str:
    """JSON that can stand in a script element: no ``<`` and no ``&``, whatever the texts in it hold."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _of_run(side: Side) -> dict[str, Any]:
    run, exactness = side.run, side.run.exactness
    assert exactness is not None  # a preview is refused
    return {
        "model": run.key.model,
        "revision": run.key.revision,
        "weights": side.weights,
        "dtype": run.key.dtype,
        "gated_path": run.key.gated_path,
        "attention": run.key.attention,
        "engine": run.key.engine,
        "prompt": run.prompt,
        "token_ids": list(run.key.token_ids),
        "target": {"id": side.target.token_id, "token": side.target.token},
        "baseline": run.baseline,
        "split": Split("logit", run.baseline, run.key.convention).words.removeprefix("logit, "),
        "reconstruction": exactness.reconstruction,
        "reconstruction_bound": run.bounds[0],
        "forward": exactness.forward,
        "forward_bound": run.bounds[1],
        "exact": exactness.exact,
        "leaks": exactness.leaks,
        "products": exactness.products,
        "made": run.made,
        "device": run.device,
    }
