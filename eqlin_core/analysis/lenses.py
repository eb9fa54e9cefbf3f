"""Read-outs through lenses as a run: what page Layers shows beside its maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from eqlin_core.analysis.prompt import run_key, seen_ids
from eqlin_core.dtypes import to_numpy
from eqlin_core.lenses.cosines import lens_cosines
from eqlin_core.lenses.lens import Lens
from eqlin_core.lenses.readouts import EXACT as BY_MAP
from eqlin_core.lenses.readouts import LensReadout, read_lens
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.progress import Progress, part
from eqlin_core.runs.lenses import EXACT, LOGIT, LensRun
from eqlin_core.runs.values import Array

KEPT = 8


def lens_run(
    lin: LinearMap, token: int | str | None = None, lenses: Sequence[Lens] = (), progress: Progress | None = None
) -> LensRun:
    """The stream of the map's prompt, read at its position: as it is, by each of the lenses, by the prompt's own map.

    ``token``: whose rank is followed, the model's own next one unless given. The exact read-out is that of the
    published map, whatever convention ``lin`` has. Raises EqlinError for what `read_lens` refuses.
    """
    lm, ids, at = checked_map(lin).lm, seen_ids(lin), lin.position
    steps = 2 + len(lenses)

    def within(n: int) -> Progress | None:
        return part(progress, n / steps, (n + 1) / steps, "Lenses")

    def read(lens: Lens | str | None, tokens: Sequence[int | str] | None, n: int) -> LensReadout:
        return read_lens(lm, None, lens, KEPT, token_ids=ids, position=at, tokens=tokens, progress=within(n))

    plain = read(None, None if token is None else [token], 0)
    chosen = plain.token_ids[:1]
    reads = {LOGIT: plain, EXACT: read(BY_MAP, chosen, 1)}
    L = len(plain.layers)
    cosines = {LOGIT: np.full(L, np.nan), EXACT: np.append(np.ones(L - 1), np.nan)}
    for n, lens in enumerate(lenses, 2):
        reads[lens.kind] = read(lens, chosen, n)
        found = lens_cosines(lm, lens, token_ids=ids, token=chosen[0], position=at)
        cosines[lens.kind] = _spread(to_numpy(found), lens.layers, L)
    key = replace(run_key(lin), token_ids=tuple(ids))
    names: dict[int, str] = {}
    for one in reads.values():
        names |= one.names
    return LensRun(
        key=key,
        token_id=chosen[0],
        reads=list(reads),
        names=names,
        top_ids=np.stack([_of_all(one, "top_ids", L) for one in reads.values()]).astype(np.int64),
        top_logits=np.stack([_of_all(one, "top_logits", L) for one in reads.values()]),
        ranks=np.stack([_of_all(one, "ranks", L)[:, 0] for one in reads.values()]).astype(np.int64),
        log_probabilities=np.stack([_of_all(one, "log_probabilities", L)[:, 0] for one in reads.values()]),
        cosines=np.stack(list(cosines.values())),
        fitted={lens.kind: words_of(lens) for lens in lenses},
    )


def words_of(lens: Lens) -> str:
    """What a lens averages over, in a few words."""
    where = {"future": "positions and those after them", "same": "positions", "last": "last positions"}
    if lens.positions not in where:  # of a file that does not say it
        return f"{lens.prompts} prompts"
    return f"{lens.prompts} prompts, {lens.source_positions} {where[lens.positions]}"


def _of_all(read: LensReadout, name: str, layers: int) -> Array:
    """A column of the read-out for every layer; of those that a lens does not have -1, or NaN."""
    found = to_numpy(getattr(read, name))
    whole = np.full((layers, *found.shape[1:]), -1.0 if name in ("top_ids", "ranks") else np.nan)
    whole[read.layers] = found
    return whole


def _spread(values: Array, layers: Sequence[int], count: int) -> Array:
    whole = np.full(count, np.nan)
    whole[list(layers)] = values
    return whole
