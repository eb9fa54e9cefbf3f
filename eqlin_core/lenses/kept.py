"""A lens that is fitted once and kept in a file: begun anew it goes on where it stood, and grows when more is asked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eqlin_core.errors import EqlinError
from eqlin_core.progress import Progress, part
from eqlin_core.version import __version__

if TYPE_CHECKING:
    from eqlin_core.lenses.lens import Lens
    from eqlin_core.models.language_model import LanguageModel

# Prompts after which what there is is written.
AT_ONCE = 5
_MOST_HEADER = 1 << 24


def lens_file(folder: Path, model: str, revision: str, dtype: str, said: Sequence[object]) -> Path:
    """Where the lens of this model is kept; ``said`` is whatever else its numbers depend on."""
    digest = hashlib.sha256(json.dumps([model, revision, dtype, __version__, *said]).encode()).hexdigest()
    return folder / f"{digest[:24]}.safetensors"


def prompts_read(file: Path) -> int:
    """How many prompts the lens in the file is of, those that were too short among them; 0 where none can be read.

    The header alone is read, and whether the file is as long as it says.
    """
    try:
        with file.open("rb") as there:
            size = int.from_bytes(there.read(8), "little")
            if size > _MOST_HEADER:
                return 0
            header = json.loads(there.read(size))
            facts = json.loads(header.pop("__metadata__")["lens"])
            whole = 8 + size + max(array["data_offsets"][1] for array in header.values())
            if there.seek(0, os.SEEK_END) != whole:
                return 0
        return int(facts["prompts"]) + int(facts["left_out"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError):
        return 0


def fit_kept(
    lm: LanguageModel,
    prompts: Sequence[str],
    kind: str,
    file: Path,
    *,
    positions: str = "future",
    skip: int = 1,
    progress: Progress | None = None,
) -> Lens:
    """The lens of all these prompts, in parts that are merged and written to ``file`` as they come.

    A fit that was cancelled or killed loses the part in hand. What is there of another engine, precision or model, or
    is damaged, is fitted anew. Raises EqlinError for what ``fit_lens`` refuses, and where nothing can be written.
    """
    from eqlin_core.lenses.files import load_lens  # noqa: PLC0415 - torch is loaded where something is fitted
    from eqlin_core.lenses.fitting import fit_lens  # noqa: PLC0415
    from eqlin_core.lenses.merging import merge_lenses  # noqa: PLC0415

    lens, there = None, prompts_read(file)
    if there:
        try:
            lens = load_lens(file, lm)
        except EqlinError:
            there = 0
    total = len(prompts)
    for at in range(there, total, AT_ONCE):
        some = prompts[at : at + AT_ONCE]
        within = part(progress, at / total, (at + len(some)) / total, f"{kind} lens, {total} prompts")
        new = fit_lens(lm, some, kind, positions=positions, skip=skip, progress=within)
        lens = new if lens is None else merge_lenses([lens, new])
        _write(lens, file)
    assert lens is not None
    return lens


def _write(lens: Lens, file: Path) -> None:
    try:
        os.makedirs(file.parent, exist_ok=True)
    except OSError as error:
        raise EqlinError(f"The folder for lenses cannot be made: {error.strerror or error}.") from error
    lens.save(file)
