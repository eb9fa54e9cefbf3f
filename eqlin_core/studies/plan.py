"""What a study asks for, and what it will take: time, memory and disk, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError
from eqlin_core.maps.together import FULL
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import prompt_ids
from eqlin_core.models.texts import chat_ids
from eqlin_core.resources import plan
from eqlin_core.resources.plan import duration_text, size_text
from eqlin_core.studies.measures import Asked, Ready
from eqlin_core.studies.prompts import StudyPrompt

# Tokens of all prompts that are computed together: beyond, a pass takes longer by as much.
PACK_TOKENS = 160
# Prompts among which those of one length are looked for, so that what is written last is near what was read first.
_WINDOW = 256
# Bytes of a row of every table on the disk, measured on the default model.
_ROW_BYTES = {"prompts": 200, "tokens": 50, "triplets": 220, "layers": 45, "heads": 20, "methods": 30, "strengths": 90}
_METHODS = 8
# A pass over few tokens, measured on a processor: as long as so many tokens of a matrix for the weights that it reads,
# and as so many for each token, since its products are small; no block takes less than this, on any device.
_WEIGHTS, _SMALL, _BLOCK_SECONDS = 100.0, 2.0, 1e-3


@dataclass(frozen=True)
class Pack:
    """Prompts of one length that are computed together."""

    prompts: tuple[Ready, ...]

    @property
    def tokens(self) -> int:
        """How many tokens they have together."""
        return sum(len(one.token_ids) for one in self.prompts)


@dataclass
class ModelPlan:
    """What one model is to do: packs of prompts, and those that are none for it, with what is said of them."""

    model: str
    dtype: str
    packs: list[Pack]
    refused: list[tuple[StudyPrompt, str]]
    there: int
    seconds: float
    memory_bytes: int
    disk_bytes: int

    @property
    def prompts(self) -> int:
        """How many prompts are to be measured."""
        return sum(len(pack.prompts) for pack in self.packs)

    def sentence(self) -> str:
        """One line for people."""
        lengths = [len(one.token_ids) for pack in self.packs for one in pack.prompts]
        span = f" of {min(lengths)} to {max(lengths)} tokens" if lengths else ""
        already = f", {self.there} are there already" if self.there else ""
        refused = f", {len(self.refused)} cannot be read" if self.refused else ""
        return (
            f"{self.model} in {self.dtype}: {self.prompts} prompts{span}{already}{refused}; about "
            f"{duration_text(self.seconds)}, at most {size_text(self.memory_bytes)} of memory beside the model, about "
            f"{size_text(self.disk_bytes)} on the disk."
        )


def plan_model(
    lm: LanguageModel, prompts: Sequence[StudyPrompt], asked: Asked, there: dict[tuple[str, str], str]
) -> ModelPlan:
    """What a model is to do with those of the prompts that are not ``there`` yet, by (model, key)."""
    todo = [one for one in prompts if (lm.name, one.key) not in there]
    ready: list[Ready] = []
    refused: list[tuple[StudyPrompt, str]] = []
    for one in todo:
        try:
            ready.append(Ready(one, tuple(_ids(lm, one))))
        except EqlinError as error:
            refused.append((one, str(error)))
    packs = list(_packs(ready, 1 if asked.alone else PACK_TOKENS))
    return ModelPlan(
        model=lm.name,
        dtype=dtype_name(lm.dtype),
        packs=packs,
        refused=refused,
        there=len(prompts) - len(todo),
        seconds=sum((_seconds(lm, pack, asked) for pack in packs), 0.0),
        memory_bytes=max((pack_memory(lm, pack, asked) for pack in packs), default=0),
        disk_bytes=sum(_disk(lm, one, asked) for one in ready),
    )


def _ids(lm: LanguageModel, one: StudyPrompt) -> Sequence[int]:
    if one.chat is not None:
        return chat_ids(lm, one.chat)
    return prompt_ids(lm, None, list(one.token_ids)) if one.token_ids is not None else prompt_ids(lm, one.text)


def _packs(ready: Sequence[Ready], most_tokens: int) -> Iterator[Pack]:
    for start in range(0, len(ready), _WINDOW):
        same: dict[int, list[Ready]] = {}
        for one in ready[start : start + _WINDOW]:
            same.setdefault(len(one.token_ids), []).append(one)
        for length, those in same.items():
            size = max(1, most_tokens // length)
            for first in range(0, len(those), size):
                yield Pack(tuple(those[first : first + size]))


def _seconds(lm: LanguageModel, pack: Pack, asked: Asked) -> float:
    """About how long a pack takes: passes over its tokens, and matrices."""
    n, length = pack.tokens, pack.tokens // len(pack.prompts)
    measures = set(asked.measures)
    passes = {
        "layers": 4.0,
        "heads": 3.0,
        "faithfulness": 13 + 1.3 * length,
        "steering": 2.0 * (asked.behaviour.new_tokens + 8),
    }
    matrix = plan.matrix_seconds(lm, n, lm.device, asked.convention)
    token = matrix / lm.width / n
    seconds = sum((_pass(lm, n, token) * passes.get(measure, 0.0) for measure in measures), 4 * _pass(lm, n, token))
    if measures & {"exactness", "contributions"}:  # the same replays, of one token of every prompt and what follows
        several = max(1, FULL // n)
        seconds += _pass(lm, n, token) + -(-length // several) * _pass(lm, several * n / 2, token)
    return seconds + ("spectra" in measures) * 1.2 * matrix


def _pass(lm: LanguageModel, tokens: int | float, token: float) -> float:
    """The seconds of a pass, where one more ``token`` takes so many in a matrix: few tokens wait for the weights."""
    return max((_WEIGHTS + _SMALL * tokens) * token, _BLOCK_SECONDS * lm.n_layers)


def pack_memory(lm: LanguageModel, pack: Pack, asked: Asked) -> int:
    """The bytes that a pack takes at most, beside the model."""
    if "spectra" in asked.measures:
        planned = plan.plan_run(lm, pack.tokens, asked.convention)
        return max(planned.device_bytes, planned.host_bytes)
    return plan.recording_bytes(lm, pack.tokens) + plan.row_bytes(lm, pack.tokens)


def _disk(lm: LanguageModel, one: Ready, asked: Asked) -> int:
    T, L = len(one.token_ids), lm.n_layers
    rows: dict[str, Any] = {"prompts": 1, "tokens": T}
    if "spectra" in asked.measures:
        rows["triplets"] = T * min(asked.k, lm.width)
    if "layers" in asked.measures:
        rows["layers"] = L
    if "heads" in asked.measures:
        rows["heads"] = L * plan._heads(lm)
    if "faithfulness" in asked.measures:
        rows["methods"] = _METHODS
    if "steering" in asked.measures:
        rows["strengths"] = len(asked.behaviour.strengths)
    return sum(count * _ROW_BYTES[table] for table, count in rows.items())
