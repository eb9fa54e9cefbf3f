"""The table family x dtype x error: how exact the map of every decoder family is, measured on tiny random models."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from eqlin_core.audit.families import FAMILIES, tiny_model, tiny_prompt
from eqlin_core.maps.linear_map import linearize
from eqlin_core.runs.exactness import BOUNDS, Exactness

_CONVENTIONS = ("up", "gate")
DTYPES = ("float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class FamilyRow:
    """One family: by dtype, the exactness of its map and matrix under each convention; one where no MLP is gated.

    ``affine`` says whether biases give the map a b of its own.
    """

    name: str
    title: str
    affine: bool
    exactness: dict[str, list[Exactness]]

    @property
    def exact(self) -> bool:
        """Whether every map of the family is exact."""
        return all(e.exact for row in self.exactness.values() for e in row)


def family_rows(names: Sequence[str] = tuple(FAMILIES), dtypes: Sequence[str] = DTYPES) -> list[FamilyRow]:
    """The measured rows of these families, in their order."""
    return [_row(name, dtypes) for name in names]


def markdown(rows: Sequence[FamilyRow]) -> str:
    """The rows as a Markdown table of reconstruction errors, with the bounds and the versions below it."""
    dtypes = list(rows[0].exactness)
    lines = [f"| family | b | {' | '.join(dtypes)} |", "| --- " * (2 + len(dtypes)) + "|"]
    for row in rows:
        cells = [" / ".join(_error(e) for e in row.exactness[dtype]) for dtype in dtypes]
        lines.append(f"| {row.title} (`{row.name}`) | {'b' if row.affine else '0'} | {' | '.join(cells)} |")
    lines.append(f"| bound | | {' | '.join(f'{BOUNDS[dtype][0]:.0e}' for dtype in dtypes)} |")
    return "\n".join([*lines, "", f"{_versions()}."])


def _row(name: str, dtypes: Sequence[str]) -> FamilyRow:
    family, prompt = FAMILIES[name], tiny_prompt()
    exactness: dict[str, list[Exactness]] = {}
    for dtype in dtypes:
        lm = tiny_model(name, getattr(torch, dtype))
        exactness[dtype] = []
        for path in _CONVENTIONS if family.gated else _CONVENTIONS[:1]:
            lin = linearize(lm, token_ids=prompt, gated_path=path)
            lin.jacobian()
            exactness[dtype].append(lin.exactness())
    return FamilyRow(name, family.title, family.affine, exactness)


def _error(exactness: Exactness) -> str:
    return f"{exactness.reconstruction:.1e}" + ("" if exactness.exact else " (not exact)")


def _versions() -> str:
    import transformers  # noqa: PLC0415 - transformers is slow to import

    return f"transformers {transformers.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
