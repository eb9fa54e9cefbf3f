"""A study's tables as data frames."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqlin_core import arguments
from eqlin_core.reprs import Facts, ShortRepr, counted
from eqlin_core.studies.notes import FINISHED, read_notes
from eqlin_core.studies.tables import PROMPTS, TABLES, Parts

if TYPE_CHECKING:
    import pandas as pd


class Study(ShortRepr):
    """The study of a folder: ``info`` is what ``study.json`` says, and every table is a data frame.

    The rows stand in the order of the prompts, model by model. Of a study that is not finished they are those that are
    there. Raises EqlinError for a folder without a study.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = arguments.path("folder", folder)
        self.info = read_notes(self.folder)
        self._frames: dict[str, pd.DataFrame] = {}

    def _facts(self) -> Facts:
        yield "folder", self.folder.resolve().name
        yield "models", ", ".join(self.info["models"])
        yield "prompts", counted(len(self.info["keys"]), "prompt")
        yield "measures", ", ".join(self.info["settings"].get("measures", []))
        if self.info["state"] != FINISHED:
            yield "state", self.info["state"]

    def table(self, name: str) -> pd.DataFrame:
        """One of the tables: "prompts", "tokens", "triplets", "layers", "heads", "methods" or "strengths".

        Empty where nothing was measured that stands there.
        """
        arguments.choice("name", name, TABLES)
        if name not in self._frames:
            self._frames[name] = self._read(name)
        return self._frames[name]

    def _read(self, name: str) -> pd.DataFrame:
        order = [(model, key) for model in self.info["models"] for key in self.info["keys"]]
        return Parts(self.folder, self.info["columns"]).rows(name, order).to_pandas()

    @cached_property
    def failures(self) -> dict[str, str]:
        """The sentences of the prompts that failed, or of their measures that did, by key."""
        table = self.table(PROMPTS)
        wrong = table[table["error"].notna()]
        return dict(zip(wrong["key"], wrong["error"], strict=True))

    def __getattr__(self, name: str) -> Any:
        if name in TABLES:
            return self.table(name)
        raise AttributeError(name)


def load_study(folder: str | Path) -> Study:
    """The study in a folder that ``run_study`` or ``eqlin study`` wrote, finished or not.

    Raises EqlinError for a folder without one.
    """
    return Study(folder)
