"""Where a run's charts come from, in the texts that their downloads and captions carry."""

from __future__ import annotations

from typing import Any

from eqlin_core import arguments
from eqlin_core.figures import Provenance
from eqlin_core.runs.prompt import RunKey
from eqlin_core.version import __version__


def provenance_of(run: Any, prompt: str = "", explained: str = "") -> Provenance:
    """Those of a run of any kind with a key; ``prompt`` where it does not hold its own, ``explained`` the next token.

    `chart.of(provenance_of(run))` is the chart whose file name, CSV and caption say them.
    """
    key = getattr(run, "key", None)
    if not isinstance(key, RunKey):
        arguments.wrong_type("run", run, "a run, as token_run gives one")
    said = arguments.text("prompt", prompt), arguments.text("explained", explained)
    return Provenance(key.model, getattr(run, "prompt", said[0]), said[1], key.dtype, key.convention.words, __version__)
