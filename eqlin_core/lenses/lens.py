"""A lens: the average map from the residual stream after each block to the last, and what it was averaged over."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.disk import write_file
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.multiplication import passes
from eqlin_core.reprs import Facts, ShortRepr, counted, span

# What a file of the published layout does not say.
UNRECORDED = "unrecorded"


@dataclass(frozen=True, eq=False, repr=False)
class Lens(ShortRepr):
    """J_l [layers, d, d] in float32: the mean over prompts of the maps from after block l to the last residual stream.

    ``kind``, ``positions`` and ``skip`` say of which maps, as in ``fit_lens``; ``layers`` are the blocks l (from 0),
    of the model's ``blocks``. ``squares`` [layers]: the sum over prompts of ||J - mean||_F^2, None where it is not
    known. ``changes`` [prompts, layers]: ||change of the mean|| / ||mean|| after each prompt, empty after a merge.
    ``prompts`` were averaged with equal weight, each the mean over its source positions, ``source_positions`` in all;
    ``left_out`` were too short. ``prompt_digests`` are SHA-256 of the token ids of each prompt. ``model``,
    ``revision``, ``dtype`` and ``engine`` say by what it was computed; ``stored`` is the precision of the file that it
    came from. Of a file of the published layout ``kind`` and ``positions`` are "unrecorded" and the model's name "".
    """

    kind: str
    positions: str
    skip: int
    layers: list[int]
    blocks: int
    matrices: Float[Tensor, "layers d d"]
    squares: Float[Tensor, " layers"] | None
    changes: Float[Tensor, "prompts layers"]
    prompts: int
    source_positions: int
    left_out: int
    prompt_digests: tuple[str, ...]
    model: str
    revision: str
    dtype: str
    engine: str
    stored: str = "float32"

    def _facts(self) -> Facts:
        yield "kind", self.kind
        yield "model", self.model or "a model that is not named"
        yield "layers", counted(len(self.layers), "layer")
        yield "width", f"d={self.width}"
        yield "prompts", counted(self.prompts, "prompt")
        yield "positions", f"positions {self.positions}"
        if self.squares is not None:
            yield "spread", f"spread {span(self.spread.tolist())}"

    @property
    def width(self) -> int:
        """d, the width of the residual stream."""
        return self.matrices.shape[-1]

    @property
    def spread(self) -> Float[Tensor, " layers"]:
        """How far the prompts' maps are from the mean: the mean of ||J - mean||_F^2, divided by ||mean||_F^2.

        Raises EqlinError where the file did not keep it.
        """
        if self.squares is None:
            raise EqlinError("This lens came from a file that keeps no spread: fit one to have it.")
        return self.squares / self.prompts / self.matrices.double().square().sum((-1, -2))

    @property
    def convergence(self) -> Float[Tensor, " prompts"]:
        """The largest relative change of the mean of any layer after each prompt; empty after a merge."""
        return self.changes.amax(-1)

    @property
    def corpus(self) -> str:
        """SHA-256 of the digests of all prompts, in their order; of no digests, empty."""
        return hashlib.sha256("".join(self.prompt_digests).encode()).hexdigest() if self.prompt_digests else ""

    @passes
    def transport(self, layer: int, h: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """J_l h for vectors of the residual stream after block ``layer``; in float32, or in the precision of ``h``.

        Raises EqlinError for a layer that the lens does not have.
        """
        matrix = self._of(layer)
        h = arguments.vectors("h", h, self.width)
        dtype = torch.float64 if h.dtype == torch.float64 else torch.float32
        return h.to(dtype) @ matrix.to(h.device, dtype).T

    @passes
    def adjoint(self, layer: int, w: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """J_l^T w: which direction after block ``layer`` the lens reads as ``w`` of the last residual stream."""
        matrix = self._of(layer)
        w = arguments.vectors("w", w, self.width)
        dtype = torch.float64 if w.dtype == torch.float64 else torch.float32
        return w.to(dtype) @ matrix.to(w.device, dtype)

    def save(self, path: str | Path, dtype: str = "float32") -> None:
        """Write the lens as safetensors, its description in the header; ``dtype`` "float16" takes half of the room.

        Raises EqlinError where that fails, and for a lens whose numbers float16 does not reach.
        """
        from eqlin_core.lenses.files import lens_bytes  # noqa: PLC0415 - files hold lenses

        place = arguments.path("path", path)
        write_file(place, lens_bytes(self, arguments.choice("dtype", dtype, ("float32", "float16"))), "The lens")

    def require_fit(self, lm: LanguageModel) -> None:
        """Raise EqlinError, with the reason, unless this lens was made from ``lm``, in whatever precision.

        One that does not name its model has to have its width and its layers.
        """
        reason = _misfit(self, checked_model(lm))
        if reason:
            raise EqlinError(f"The lens does not fit {lm.name}: {reason}; fit one with this model.")

    def _of(self, layer: int) -> Tensor:
        has = f"it has {', '.join(map(str, self.layers[:3]))}{' …' if len(self.layers) > 3 else ''}"
        if arguments.whole("layer", layer) not in self.layers:
            raise InvalidValue(f"The lens has no layer {arguments.shown(layer)}: {has}.")
        return self.matrices[self.layers.index(layer)]


def checked_lens(name: str, lens: object) -> Lens:
    """The lens itself, which a public function takes. Raises EqlinError for anything else."""
    return arguments.instance(name, lens, Lens, "a Lens, as fit_lens gives one")


def digest_of(ids: Sequence[int]) -> str:
    """SHA-256 of a prompt's token ids."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def _misfit(lens: Lens, lm: LanguageModel) -> str:
    if lens.width != lm.width:
        return f"its width is {lens.width}, the model's {lm.width}"
    if lens.blocks not in (0, lm.n_layers) or max(lens.layers) >= lm.n_layers:
        return f"it is of {lens.blocks or max(lens.layers) + 1} blocks, the model has {lm.n_layers}"
    if lens.model and (lens.revision != lm.revision or ("unsaved" in lens.revision and lens.model != lm.name)):
        return f"it was fitted with {arguments.short(lens.model)}, revision {arguments.short(lens.revision[:12])}"
    return ""
