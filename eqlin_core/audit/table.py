"""The table family x dtype x error: how exact the map of every decoder family is, measured on tiny random models."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from eqlin_core.audit.families import FAMILIES, tiny_model, tiny_prompt
from eqlin_core.maps.linearization import linearize
from eqlin_core.runs.convention import Convention, settings
from eqlin_core.runs.exactness import BOUNDS, Exactness

_CONVENTIONS = ("up", "gate")
_DIALS_IN = "float64"
DTYPES = ("float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class FamilyRow:
    """One family: by dtype, the exactness of its map and matrix under each convention; one where no MLP is gated.

    ``affine`` says whether biases give the map a b of its own. ``dials``: by setting, the exactness in float64 of the
    maps, without their matrices, at the other settings that an audit tries.
    """

    name: str
    title: str
    affine: bool
    exactness: dict[str, list[Exactness]]
    dials: dict[Convention, Exactness]

    @property
    def exact(self) -> bool:
        """Whether every map of the family is exact."""
        return all(e.exact for row in (*self.exactness.values(), self.dials.values()) for e in row)


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
    return "\n".join([*lines, "", *_dials(rows), "", f"{_versions()}."])


def _dials(rows: Sequence[FamilyRow]) -> list[str]:
    """The second table: the settings of the dials, in float64. A family without gated products has one dial."""
    columns = [c for c in settings(gated=True) if c.gated_path not in _CONVENTIONS]
    lines = [f"| family, float64 | {' | '.join(c.words for c in columns)} |", "| --- " * (1 + len(columns)) + "|"]
    for row in rows:
        cells = []
        for column in columns:
            own = column if column in row.dials else Convention(attention=column.attention)
            cells.append(_error(row.dials[own]) if own in row.dials else "–")
        lines.append(f"| {row.title} (`{row.name}`) | {' | '.join(cells)} |")
    return [*lines, f"| bound | {' | '.join(f'{BOUNDS[_DIALS_IN][0]:.0e}' for _ in columns)} |"]


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
    lm = tiny_model(name, getattr(torch, _DIALS_IN))
    dials = {}
    for setting in settings(family.gated):
        if setting.attention != "held" or setting.gated_path not in _CONVENTIONS:
            dials[setting] = linearize(lm, token_ids=prompt, **setting.keywords).exactness()
    return FamilyRow(name, family.title, family.affine, exactness, dials)


def _error(exactness: Exactness) -> str:
    return f"{exactness.reconstruction:.1e}" + ("" if exactness.exact else " (not exact)")


def _versions() -> str:
    import transformers  # noqa: PLC0415 - transformers is slow to import

    return f"transformers {transformers.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
