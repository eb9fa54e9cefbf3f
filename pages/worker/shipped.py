"""Answers that are shipped with the app: what it computed itself, with the default model, before it was given away.

``python -m tests.make_examples`` computes them anew, and a test compares them with what is computed now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from pathlib import Path

from eqlin_core.errors import EqlinError
from eqlin_core.models.bundled import REVISION
from eqlin_core.runs.convention import PUBLISHED
from eqlin_core.runs.files import load_run
from eqlin_core.runs.kinds import Answer, is_answer
from eqlin_core.runs.prompt import TokenRun, TokenRuns
from pages.worker.request import Request

SHIPPED = Path(__file__).with_name("examples")


def shipped(key: tuple[Hashable, ...]) -> Answer | None:
    """The answer to the question of this key, which names everything that it depends on; None where none is shipped."""
    place = shipped_file(key)
    try:
        found = load_run(place) if place.is_file() else None
    except EqlinError:  # damaged on the disk: it is computed
        return None
    return found if is_answer(found) else None


def shipped_tokens(request: Request, baseline: str | int = "zero") -> TokenRun | None:
    """The contributions that are shipped of this request: all maps of one prompt stand in one file."""
    found = shipped(tokens_key(request, baseline))
    return found.by(request.convention) if isinstance(found, TokenRuns) else None


def tokens_key(request: Request, baseline: str | int = "zero") -> tuple[Hashable, ...]:
    """Under which the contributions of a prompt are shipped, by whatever map."""
    return ("tokens", request.by(PUBLISHED), baseline)


def shipped_file(key: tuple[Hashable, ...]) -> Path:
    """Where the answer is shipped, if it is: under the question's name, and a hash of all that was asked."""
    name = str(key[0]).rpartition(".")[2]
    return SHIPPED / f"{name}-{hashlib.sha256(repr((REVISION, key)).encode()).hexdigest()[:16]}.npz"
