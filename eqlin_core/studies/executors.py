"""Who computes the packs of a study: this process, or others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from eqlin_core.models.language_model import LanguageModel
from eqlin_core.progress import Progress, part
from eqlin_core.studies.measures import Asked, measured
from eqlin_core.studies.plan import Pack
from eqlin_core.studies.tables import Rows


@runtime_checkable
class Workers(Protocol):
    """Computes packs of prompts, in any order."""

    def measured(
        self, lm: LanguageModel, source: str, packs: Sequence[Pack], asked: Asked, progress: Progress | None
    ) -> Iterator[tuple[int, Rows]]:
        """(number of the pack, its rows) of every pack as it is ready; ``source`` is what the model is loaded from."""


class Here:
    """This process, one pack after the other."""

    def measured(
        self,
        lm: LanguageModel,
        source: str,  # noqa: ARG002 - it is loaded
        packs: Sequence[Pack],
        asked: Asked,
        progress: Progress | None,
    ) -> Iterator[tuple[int, Rows]]:
        """Each pack's rows, in order."""
        operators: dict[str, Any] = {}
        for n, pack in enumerate(packs):
            within = part(progress, n / len(packs), (n + 1) / len(packs))
            yield n, measured(lm, pack.prompts, asked, operators, within)
