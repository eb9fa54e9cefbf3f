"""What page Study asks of the worker: what a study will take, and the study itself, in a folder that stays."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqlin_core.cache import data_directory
from eqlin_core.errors import EqlinError
from eqlin_core.studies.notes import NAME, is_study
from pages.door.settings import settings
from pages.studies.lists import Source, content_of
from pages.visit.shelf import SWITCH
from pages.worker.engine import Engine
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.worker import Reporter

if TYPE_CHECKING:
    from eqlin_core.studies.plan import ModelPlan
    from eqlin_core.studies.prompts import StudyPrompt

MEASURES = {
    "exactness": "whether every map is exact",
    "contributions": "every token's term and norm",
    "spectra": "stable ranks and singular triplets: the matrix of every prompt",
    "layers": "what every block's output reads as, and what it adds",
    "heads": "what every head adds",
    "faithfulness": "how far terms foretell what deleting a token does",
}


@dataclass(frozen=True)
class Asked:
    """A study: of which prompts, by which model and map, of what."""

    source: Source
    model: str
    dtype: str
    gated_path: str | float
    attention: str | float
    measures: tuple[str, ...]

    @property
    def request(self) -> Request:
        """The model, its precision and the map, as the worker knows them."""
        return Request("", self.model, self.dtype, self.gated_path, self.attention)

    @property
    def folder(self) -> Path:
        """Where its tables stand: the same for the same study, also after a restart."""
        said = json.dumps(astuple(self))
        return _studies() / sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def begun(self) -> bool:
        """Whether its folder is there."""
        with suppress(EqlinError):  # something else has its name; whoever writes or reads there says so
            return is_study(self.folder)
        return False

    @property
    def files(self) -> int:
        """How many files its tables have by now; while it runs they come and go."""
        with suppress(OSError):
            return sum(1 for _ in self.folder.rglob("*.parquet"))
        return 0

    @property
    def there(self) -> tuple[int, int]:
        """What tells one stand of its folder from another."""
        with suppress(OSError):
            return (self.folder / NAME).stat().st_mtime_ns, self.files
        return 0, 0


@question("the plan of the study", interactive=True)
def plan(engine: Engine, progress: Reporter, asked: Asked, _there: Hashable) -> ModelPlan:
    """What the study will take, less what is there: asked again when that is another ``_there``."""
    from eqlin_core.studies.study import plan_study  # noqa: PLC0415 - torch stays off the script thread

    lm = engine.load(asked.request, progress)
    return plan_study(_prompts(asked.source), lm, asked.folder, asked.measures, **_map(asked))


@question("the study of {asked.source}")
def study(engine: Engine, progress: Reporter, asked: Asked, _turn: int) -> str:
    """Measure every prompt; the name of the folder with the tables, which grow meanwhile.

    ``_turn``: how often a tab has begun it, so that the answer of an earlier start is not that of this one.
    """
    from eqlin_core.studies.study import run_study  # noqa: PLC0415

    lm = engine.load(asked.request, progress)
    run_study(
        _prompts(asked.source),
        lm,
        asked.folder,
        asked.measures,
        name=asked.source.name,
        progress=progress,
        on_plan=lambda plan: progress.publish("plan", plan.sentence()),
        **_map(asked),
    )
    return asked.folder.name


def _prompts(source: Source) -> list[StudyPrompt]:
    """The prompts of a list or an uploaded file. Raises EqlinError for a file that cannot be read."""
    from eqlin_core.studies.prompts import read_prompts, study_prompts  # noqa: PLC0415

    found = read_prompts(content_of(source), source.name) if source.digest else study_prompts(source.name)
    found = found[: source.first]
    if settings().public:
        found = found[: settings().study_prompts]
    if source.digest and settings().public:
        most = settings().longest_prompt
        too_long = next((one for one in found if len(one.shown) > most), None)
        if too_long is not None:
            raise EqlinError(
                f"The prompt {too_long.key} has {len(too_long.shown):,} characters, and this server takes {most:,} at "
                "most: shorten it."
            )
    return found


def _map(asked: Asked) -> dict[str, Any]:
    return {"gated_path": asked.gated_path, "attention": asked.attention}


def _studies() -> Path:
    """The folder of all studies: the user's own; one of this process on a public server and where nothing is kept."""
    temporary = settings().public or os.environ.get(SWITCH) == "0"
    return Path(_temporary().name) if temporary else data_directory() / "studies"


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="eqlin-studies-")  # gone with the process
