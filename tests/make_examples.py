"""``python -m tests.make_examples``: compute what is shipped of the example prompts, in place of what is there.

Of every example the contributions by the published map and by the one that page Tokens opens with; of the first one
whatever else the pages ask for when they are opened at their plain addresses, and when their tabs are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Hashable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from eqlin_core.runs.convention import PUBLISHED
from eqlin_core.runs.files import save_run
from eqlin_core.runs.kinds import Answer
from eqlin_core.runs.layers import HeadsRun
from eqlin_core.runs.prompt import TokenRuns
from pages.worker.question import Question
from pages.worker.request import DEFAULT_SPLIT, EXAMPLES, Request
from pages.worker.shipped import SHIPPED, shipped_file, tokens_key
from pages.worker.worker import Job
from tests.pages.plain_pages import PAGES, NotingEngine, answer, fresh_engine, views

MOST_BYTES = 4 << 20
MAPS = (PUBLISHED, DEFAULT_SPLIT.convention)  # the first is that of the request
Shipped = tuple[tuple[Hashable, ...], Answer]


class ComputingEngine(NotingEngine):
    """The engine, which computes what may be shipped."""

    def shipped(self, question: Question[Any], visitor: str) -> Job | None:
        """Nothing of what is in a file, but the job of the question, finished."""
        self.noted[question.key] = question
        return self.worker.ended(question.key, answer(self, question), question.label, visitor)


def contributions() -> Iterator[Shipped]:
    """(key, answer) of every example's contributions, by both maps, computed now."""
    from eqlin_core import linearize, load_model
    from eqlin_core.analysis.prompt import token_run

    first = Request()
    lm = load_model(first.model, dtype=first.dtype, device="cpu")
    for prompt in EXAMPLES:
        maps = [linearize(lm, prompt, **convention.keywords) for convention in MAPS]
        yield tokens_key(Request(prompt)), TokenRuns([token_run(lin, prompt) for lin in maps])


def answers() -> Iterator[Shipped]:
    """(key, answer) of what the pages ask beside the contributions, which are there; computed now."""
    with tempfile.TemporaryDirectory() as folder, fresh_engine(Path(folder), ComputingEngine) as engine:
        for app in (app for page in PAGES for app in views(page)):
            assert not app.exception, app.exception
        for key, question in engine.noted.items():
            found = answer(engine, question)
            yield key, rounded(found) if isinstance(found, HeadsRun) else found


def rounded(run: HeadsRun) -> HeadsRun:
    """The same in as many digits as float32 has, which take half the room: all of them in float64 do not fit."""
    arrays = {f.name: getattr(run, f.name) for f in fields(run) if isinstance(getattr(run, f.name), np.ndarray)}
    return replace(run, **{name: array.astype(np.float32).astype(np.float64) for name, array in arrays.items()})


def main() -> None:
    """Write the files, and print what they take."""
    SHIPPED.mkdir(exist_ok=True)
    for file in SHIPPED.glob("*.npz"):
        file.unlink()
    for made in (contributions, answers):
        for key, run in made():
            save_run(run, shipped_file(key))
    for file in sorted(SHIPPED.glob("*.npz")):
        print(f"{file.stat().st_size / 2**10:8.0f} KiB  {file.name}")
    print(f"{sum(file.stat().st_size for file in SHIPPED.glob('*.npz')) / 2**20:.2f} MiB, of {MOST_BYTES / 2**20:.0f}")


if __name__ == "__main__":
    main()
