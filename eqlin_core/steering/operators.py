"""Steering operators: the linear map of a concept prompt's first blocks, which pushes other prompts (Golden 2025, 5).

An operator is J [n, d, d] of a concept of n tokens, with everything that says which model it belongs to; it saves to a
safetensors file whose header is readable text, and is refused by name and reason where it does not fit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.disk import read_file, write_file
from eqlin_core.dtypes import coefficient_dtype, dtype_name, wide
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.maps.linearization import linearize
from eqlin_core.models.checkpoints import DTYPES
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.models.prompts import CheckedIds, prompt_ids
from eqlin_core.models.sites import Site
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress
from eqlin_core.reprs import Facts, ShortRepr, counted, excerpt
from eqlin_core.runs.convention import Convention, Share, share_text
from eqlin_core.version import __version__

FORMAT = "eqlin steering operator"
# Precisions differ by less than this in an embedding; other models' embeddings by about 1.4.
_SAME_EMBEDDINGS = 0.02


@dataclass(frozen=True, eq=False, repr=False)
class SteeringOperator(ShortRepr):
    """J [n, d, d] of a concept prompt: its embeddings to the output of block ``layers - 1``, last position.

    ``block`` (from 0) is where it is injected unless a call says otherwise; ``inputs`` [n, d] are the concept's
    embeddings, by which another model is told apart; ``final_norm`` says whether the map goes through the final norm.
    """

    J: Float[Tensor, "n d d"]
    inputs: Float[Tensor, "n d"]
    concept: str
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    layers: int
    block: int
    final_norm: bool
    gated_path: Share
    attention: Share
    model: str
    revision: str
    engine: str

    def _facts(self) -> Facts:
        yield "model", self.model
        if self.concept:
            yield "concept", excerpt(self.concept)
        yield "tokens", counted(len(self.token_ids), "token")
        yield "width", f"d={self.J.shape[-1]}"
        yield "depth", counted(self.layers, "block")
        yield "injected", f"into block {self.block}"
        yield "final norm", "with the final norm" if self.final_norm else "without the final norm"
        yield "dtype", self.dtype

    @property
    def dtype(self) -> str:
        """The floating-point type in which the map was computed."""
        return dtype_name(self.J.dtype)

    @property
    def convention(self) -> Convention:
        """Which of the exact maps it is."""
        return Convention(self.gated_path, self.attention)

    @property
    def name(self) -> str:
        """What messages call it."""
        return excerpt(self.concept, 60) if self.concept else f"the concept of {len(self.token_ids)} tokens"

    def save(self, path: str | Path) -> None:
        """Write the operator as safetensors, its description in the header; raises EqlinError where that fails."""
        write_file(arguments.path("path", path), self.to_bytes(), "The operator")

    def to_bytes(self) -> bytes:
        """What ``save`` writes."""
        from safetensors.torch import save  # noqa: PLC0415

        arrays = {"J": self.J.detach().cpu().contiguous(), "inputs": self.inputs.detach().cpu().contiguous()}
        return save(arrays, metadata=self.header())

    def header(self) -> dict[str, str]:
        """The readable header of the file."""
        return {
            "format": FORMAT,
            "model": self.model,
            "revision": self.revision,
            "concept": self.concept,
            "token_ids": json.dumps(self.token_ids),
            "tokens": json.dumps(self.tokens),
            "layers": str(self.layers),
            "block": str(self.block),
            "final_norm": json.dumps(self.final_norm),
            "gated_path": share_text(self.gated_path),
            "attention": share_text(self.attention),
            "dtype": self.dtype,
            "engine": self.engine,
        }

    def require_fit(self, lm: LanguageModel) -> None:
        """Raise EqlinError, with the reason, unless this operator was made from ``lm``, in whatever precision."""
        reason = misfit(self, checked_model(lm))
        if reason:
            raise EqlinError(f"The operator of {self.name} does not fit {lm.name}: {reason}; make it from this model.")


def steering_operator(
    lm: LanguageModel,
    concept: str | None = None,
    layers: int | None = None,
    *,
    token_ids: Sequence[int] | None = None,
    final_norm: bool = True,
    block: int | None = None,
    gated_path: Share = "up",
    attention: Share = "held",
    progress: Progress | None = None,
) -> SteeringOperator:
    """The operator of a concept: the map of the first ``layers`` blocks (two thirds of them unless given), [n, d, d].

    It leads from the concept's embeddings to the output of block ``layers - 1`` at the last position, through the
    final norm frozen at that place unless ``final_norm=False``. It is injected at the input of ``block``, which is
    ``layers - 1`` unless given. Raises EqlinError for a depth or block that does not exist and for a bad prompt.
    """
    final_norm = arguments.flag("final_norm", final_norm)
    arguments.called("progress", progress)
    return operator_of(
        lm,
        prompt_ids(lm, concept, token_ids),
        concept or "",
        layers,
        final_norm=final_norm,
        block=block,
        gated_path=gated_path,
        attention=attention,
        progress=progress,
    )


def operator_of(
    lm: LanguageModel,
    ids: CheckedIds,
    concept: str,
    layers: int | None = None,
    *,
    final_norm: bool = True,
    block: int | None = None,
    gated_path: Share = "up",
    attention: Share = "held",
    progress: Progress | None = None,
) -> SteeringOperator:
    """``steering_operator`` of a concept that was read: its tokens, and the words they came from, empty if none."""
    depth = default_depth(lm) if layers is None else check_depth(lm, layers)
    at = depth - 1 if block is None else check_block(lm, block)
    lin = linearize(
        lm,
        token_ids=ids,
        target=Site(depth - 1, "layer"),
        final_norm=final_norm,
        gated_path=gated_path,
        attention=attention,
    )
    return SteeringOperator(
        J=lin.jacobian(progress).detach(),
        inputs=lin.inputs.detach(),
        concept=concept,
        token_ids=tuple(lin.token_ids),
        tokens=tuple(lin.tokens),
        layers=depth,
        block=at,
        final_norm=final_norm,
        gated_path=lin.gated_path,
        attention=lin.attention,
        model=lm.name,
        revision=lm.revision,
        engine=__version__,
    )


def load_operator(path: str | Path, lm: LanguageModel | None = None) -> SteeringOperator:
    """The operator in a file that ``SteeringOperator.save`` wrote; with ``lm``, it has to fit that model.

    Raises EqlinError for a file that is missing, damaged or something else, and for an operator of another model.
    """
    place = arguments.path("path", path)
    if lm is not None:
        checked_model(lm)
    try:
        data = read_file(place, "The operator")
    except OSError as error:
        name = arguments.short(str(place), 200)
        raise EqlinError(f"The operator {name} cannot be read: {error.strerror or error}.") from error
    return operator_from_bytes(data, arguments.short(place.name), lm)


def operator_from_bytes(data: bytes, name: str, lm: LanguageModel | None = None) -> SteeringOperator:
    """``load_operator`` for what is in memory already; ``name`` is what messages call the file."""
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load  # noqa: PLC0415

    try:
        arrays = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise EqlinError(f"{name} is damaged or no safetensors file: save the operator again.") from error
    if header.get("format") != FORMAT:
        raise EqlinError(f"{name} holds no steering operator: choose a file that an operator was saved to.")
    try:
        convention = Convention(header["gated_path"], header.get("attention", "held"))
        operator = SteeringOperator(
            J=arrays["J"],
            inputs=arrays["inputs"],
            concept=header["concept"],
            token_ids=tuple(json.loads(header["token_ids"])),
            tokens=tuple(json.loads(header["tokens"])),
            layers=int(header["layers"]),
            block=int(header["block"]),
            final_norm=bool(json.loads(header["final_norm"])),
            gated_path=convention.gated_path,
            attention=convention.attention,
            model=header["model"],
            revision=header["revision"],
            engine=header["engine"],
        )
        n, d = operator.inputs.shape
        if operator.J.shape != (n, d, d) or not 0 < n == len(operator.token_ids) == len(operator.tokens):
            raise ValueError("shapes")
        if operator.J.dtype not in DTYPES.values() or operator.inputs.dtype not in DTYPES.values():
            raise TypeError("numbers")
        if not all(isinstance(token, str) for token in operator.tokens):
            raise TypeError("tokens")
        if operator.layers < 1 or operator.block < 0 or min(map(_as_id, operator.token_ids)) < 0:
            raise ValueError("places")
    except (KeyError, ValueError, TypeError, RecursionError, EqlinError) as error:
        raise EqlinError(f"The header of {name} and its arrays do not agree: save the operator again.") from error
    if not bool(operator.J.isfinite().all()):
        raise EqlinError(f"{name} holds values that are not finite: save the operator again, in a higher precision.")
    if lm is not None:
        operator.require_fit(lm)
    return operator


def _as_id(value: object) -> int:
    found = arguments.as_whole(value)
    return -1 if found is None else found


def misfit(operator: SteeringOperator, lm: LanguageModel) -> str:
    """Why the operator cannot steer ``lm``; empty when it can."""
    width = operator.J.shape[-1]
    if width != lm.width:
        return f"its width is {width}, the model's {lm.width}"
    if not (operator.layers <= lm.n_layers and operator.block < lm.n_layers):
        return f"it was made from {operator.layers} blocks, the model has {lm.n_layers}"
    if operator.revision != lm.revision or ("unsaved" in operator.revision and operator.model != lm.name):
        return f"it was made from {arguments.short(operator.model)}, revision {arguments.short(operator.revision[:12])}"
    if max(operator.token_ids) >= lm.input_embeddings.shape[0]:
        return "its concept has tokens that the model does not know"
    ids = torch.tensor(operator.token_ids, device=lm.device)
    with torch.no_grad():
        here = wide(lm.model.get_input_embeddings()(ids))
    there = operator.inputs.to(here)
    if float((here - there).norm()) > _SAME_EMBEDDINGS * float(there.norm()):
        return "its concept's tokens have other embeddings there, so it was made from other weights"
    return ""


@passes
def random_operator(operator: SteeringOperator, seed: int = 0) -> SteeringOperator:
    """The control: an operator with the singular values of every J_i, and of all of them jointly, in random directions.

    J_i becomes Q J_i P with two random orthogonal matrices that all tokens share.
    """
    checked_operator("operator", operator)
    generator = torch.Generator().manual_seed(arguments.seed("seed", seed))
    dtype = coefficient_dtype(operator.J.dtype)
    d = operator.J.shape[-1]
    left, right = (
        torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0].to(operator.J.device, dtype)
        for _ in range(2)
    )
    turned = left @ operator.J.to(dtype) @ right
    return replace(operator, J=turned.to(operator.J.dtype), concept=f"random, as {operator.concept}".strip())


@passes
def operator_angle(first: SteeringOperator, second: SteeringOperator) -> float:
    """The angle in degrees between two operators as they are applied: both cycled over the same positions.

    cos = <J, K> / (||J|| ||K||) in the Frobenius product over lcm(n_J, n_K) positions.
    """
    checked_operator("first", first)
    checked_operator("second", second)
    if first.J.shape[-1] != second.J.shape[-1]:
        raise EqlinError("The two operators have different widths: make both from one model.")
    n, m = len(first.J), len(second.J)
    one, two = (wide(J.to(first.J.device)).flatten(1) for J in (first.J, second.J))
    gram = one @ two.T
    cycle = math.lcm(n, m)
    position = torch.arange(cycle, device=gram.device)
    product = gram[position % n, position % m].sum()
    sizes = one.square().sum() * (cycle // n) * two.square().sum() * (cycle // m)
    return math.degrees(math.acos(max(-1.0, min(1.0, float(product / sizes.sqrt())))))


def checked_operator(name: str, operator: object) -> SteeringOperator:
    """The operator itself, which a public function takes. Raises EqlinError for anything else."""
    return arguments.instance(name, operator, SteeringOperator, "a SteeringOperator, as steering_operator gives one")


def default_depth(lm: LanguageModel) -> int:
    """Two thirds of the blocks, as in the paper's examples (24 of 36, 22 of 32, 33 of 48)."""
    return max(1, round(lm.n_layers * 2 / 3))


def check_depth(lm: LanguageModel, layers: int) -> int:
    """``layers`` when a map of so many blocks exists; raises EqlinError otherwise."""
    depth = arguments.whole("layers", layers)
    if not 1 <= depth <= lm.n_layers:
        raise InvalidValue(f"A depth of {arguments.shown(depth)} blocks does not exist: choose 1 to {lm.n_layers}.")
    return depth


def check_block(lm: LanguageModel, block: int) -> int:
    """``block`` when the model has it; raises EqlinError otherwise."""
    found = arguments.whole("block", block)
    if not 0 <= found < lm.n_layers:
        raise InvalidValue(
            f"Block {arguments.shown(found)} does not exist: this model has blocks 0 to {lm.n_layers - 1}."
        )
    return found
