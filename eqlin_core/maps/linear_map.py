"""The equivalent linear map of a language model at one prompt: ``y = sum_i J_i x_i + b`` (Golden 2025, equation 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name, to_numpy, wide
from eqlin_core.freezing.hidden_leaks import find_hidden_leaks
from eqlin_core.freezing.network import FrozenNetwork, usable
from eqlin_core.freezing.streams import stock_value
from eqlin_core.maps.passes import blocks_passed, each_alone
from eqlin_core.maps.relative_error import relative_error
from eqlin_core.models.baselines import ZERO, baseline_embedding, token_id
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import token_tensor
from eqlin_core.models.sites import Site, find_final_norm
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report, shown
from eqlin_core.reprs import Facts, ShortRepr, counted, error_text
from eqlin_core.resources import budget, plan
from eqlin_core.resources.device_time import wait
from eqlin_core.resources.scratch import scratch_tensor
from eqlin_core.runs.convention import Convention, Share
from eqlin_core.runs.exactness import Exactness, bounds_of


class LinearMap(ShortRepr):
    """The detached Jacobians of one output position with respect to every token, as an operator.

    ``apply`` and ``adjoint`` never form a matrix; ``jacobian`` does. ``as_scipy`` gives the d x (T d) matrix
    [J_1 ... J_T] as a ``scipy.sparse.linalg.LinearOperator``.
    """

    def __init__(
        self,
        lm: LanguageModel,
        network: FrozenNetwork,
        token_ids: Sequence[int],
        position: int,
        memory_budget: int | None = None,
    ) -> None:
        self.lm, self.network = lm, network
        self.token_ids = list(token_ids)
        self.tokens = lm.token_strings(self.token_ids)
        self.position = position
        self.memory_budget = memory_budget
        self._stock: list[Tensor] = []  # every position of the untouched model, once it is compared with
        self._together: list[LinearMap] = []  # the maps of positions whose contributions come from the same replays
        self._bias: Tensor | None = None
        self._contributions: Tensor | None = None
        self._jacobian: Tensor | None = None
        self._exactness: Exactness | None = None  # as it was measured last

    def _facts(self) -> Facts:
        yield "model", self.lm.name
        yield "tokens", counted(self.n_tokens, "token")
        yield "width", f"d={self.width}"
        yield "dtype", dtype_name(self.inputs.dtype)
        if self.network.source != "embedding":
            yield "source", f"from {self.network.source}"
        if self.network.target != "output":
            yield "target", f"to {self.network.target}"
        if self.gated_path != "up":
            yield "linear path of gated MLPs", f"gated_path={self.gated_path!r}"
        if self.attention != "held":
            yield "linear path of attention", f"attention={self.attention!r}"
        if self.products != "ieee":
            yield "products of float32 numbers", f"products={self.products!r}"
        if (measured := self._exactness) is not None:
            yield "exactness", error_text(measured.exact, measured.reconstruction)

    # ---- what it is ------------------------------------------------------------------------------------------------

    @property
    def n_tokens(self) -> int:
        """T, the number of tokens."""
        return len(self.token_ids)

    @property
    def width(self) -> int:
        """d, the width of the residual stream."""
        return self.inputs.shape[-1]

    @property
    def convention(self) -> Convention:
        """Which of the exact maps this is: both dials together."""
        return self.network.convention

    @property
    def gated_path(self) -> Share:
        """How gated MLPs are split: "up", "half", "gate", or the share of the gate's path."""
        return self.convention.gated_path

    @property
    def attention(self) -> Share:
        """How attention is split: "held", "half", "live", or the share of the weights' path."""
        return self.convention.attention

    @property
    def products(self) -> str:
        """How its passes multiply float32 numbers: "ieee", or "tf32" where that was asked for."""
        return self.network.products

    @property
    def inputs(self) -> Float[Tensor, "tokens d"]:
        """x_i: the values at the source, one row a token."""
        return self.network.inputs

    @property
    def output(self) -> Float[Tensor, " d"]:
        """y: the frozen network's value at the target, at the chosen position."""
        return self.network.values[self.position].detach()

    @property
    @passes
    def bias(self) -> Float[Tensor, " d"]:
        """b: what biases and constants add; zero in families without them (Llama, Qwen 3, Gemma 3)."""
        if self._bias is None:
            self._bias = self.network.replay(torch.zeros_like(self.inputs)[None])[0, self.position]
        return self._bias

    # ---- other positions -------------------------------------------------------------------------------------------

    def positions(self, positions: Sequence[int]) -> list[LinearMap]:
        """The maps of these output positions of the same prompt, from the same recording: nothing is recorded again.

        Their contributions come from one batch of replays for all of them, each row of which reaches every position,
        and the untouched model is asked once. Raises EqlinError for a position that the prompt does not have.
        """
        wanted = self._checked(positions)
        maps = [LinearMap(self.lm, self.network, self.token_ids, p, self.memory_budget) for p in wanted]
        for one in maps:
            one._stock, one._together = self._stock, maps
        return maps

    def _checked(self, positions: Sequence[int]) -> list[int]:
        has = f"the prompt has {self.n_tokens} tokens"
        given = arguments.several("positions", positions, "a list of positions")
        return [arguments.position("A position", p, self.n_tokens, has) % self.n_tokens for p in given]

    # ---- the operator ----------------------------------------------------------------------------------------------

    @passes
    def apply(self, v: Float[Tensor, "*batch tokens d"]) -> Float[Tensor, "*batch d"]:
        """sum_i J_i v_i, without b, by replaying the frozen network forwards; any leading batch dimensions."""
        own = tuple(self.inputs.shape)
        arguments.tensor("v", v, f"[..., {own[0]}, {own[1]}]", lambda shape: shape[-2:] == own)
        flat = usable(v).to(self.inputs).reshape(-1, *self.inputs.shape)
        if not len(flat):
            return self.output.new_zeros(*v.shape[:-2], len(self.output))
        out = self.output.new_empty(len(flat), len(self.output))

        def part(start: int, stop: int) -> None:
            out[start:stop] = self._replay(flat[start:stop])

        budget.in_chunks(len(flat), self._chunk(), part)
        return out.reshape(*v.shape[:-2], -1)

    @passes
    def adjoint(self, u: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch tokens d"]:
        """J_i^T u of every token i at once, by one reverse pass for each u; any leading batch dimensions."""
        arguments.vectors("u", u, len(self.output))
        return self._seen_by(u, None)

    @passes
    def seen_from(
        self, u: Float[Tensor, "rows d"], positions: Sequence[int], progress: Progress | None = None
    ) -> Float[Tensor, "rows tokens d"]:
        """``adjoint`` of other output positions, each row of u at its own: J_i^T u by one reverse pass a row."""
        arguments.called("progress", progress)
        wanted = self._checked(positions)
        arguments.tensor("u", u, f"[{len(wanted)}, {len(self.output)}]", (len(wanted), len(self.output)).__eq__)
        return self._seen_by(u, progress, wanted)

    def _seen_by(
        self, u: Float[Tensor, "*batch d"], progress: Progress | None, positions: Sequence[int] | None = None
    ) -> Float[Tensor, "*batch tokens d"]:
        """``adjoint``, with a report at every block of every pass; of each u at a position of its own, if these say."""
        flat = usable(u).to(self.output).reshape(-1, self.output.shape[0])
        shape = (*u.shape[:-1], *self.inputs.shape)
        if not len(flat):
            return self.inputs.new_zeros(shape)
        out = self.inputs.new_empty(len(flat), *self.inputs.shape)

        def part(start: int, stop: int) -> None:
            with blocks_passed(self.network.block_nodes, progress, start / len(flat), stop / len(flat), "Terms"):
                out[start:stop] = self._reverse(flat[start:stop], positions and positions[start:stop])
                wait(out.device)

        budget.in_chunks(len(flat), self._chunk(), part)
        return out.reshape(shape)

    @passes
    def contributions(self, progress: Progress | None = None) -> Float[Tensor, "tokens d"]:
        """J_i x_i of every token, from one batched forward replay whose row i keeps only token i; no matrix.

        Of maps from ``positions``, those of all positions at once.

        ``progress(fraction, message)`` is called after every chunk of tokens, and cancels as in ``jacobian``.
        """
        arguments.called("progress", progress)
        if self._contributions is None:
            maps = self._together or [self]
            for one, found in zip(maps, self._each_alone(self.inputs, maps, progress), strict=True):
                one._contributions, one._together = found, []
        assert self._contributions is not None
        return self._contributions

    @property
    def has_contributions(self) -> bool:
        """Whether the contributions have been computed."""
        return self._contributions is not None

    @passes
    def against(
        self, baseline: str | int | Float[Tensor, " d"], progress: Progress | None = None
    ) -> tuple[Float[Tensor, "tokens d"], Float[Tensor, " d"]]:
        """(J_i (x_i - m) of every token, sum_i J_i m + b): the output as a sum over what differs from the baseline m.

        ``baseline`` is "zero", "mean" (the mean embedding), a token (text or id) or a vector. The constant is one
        replay with m in every place, the rest as in ``contributions``. Raises EqlinError for what is not one token.
        """
        arguments.called("progress", progress)
        if isinstance(baseline, str) and baseline == ZERO:
            return self.contributions(progress), self.bias
        m = self.baseline(baseline)
        constant = self.network.replay(m.expand(1, *self.inputs.shape).contiguous())[0, self.position]
        return self._each_alone(self.inputs - m, [self], progress)[0], constant

    def _each_alone(
        self, values: Float[Tensor, "tokens d"], maps: Sequence[LinearMap], progress: Progress | None
    ) -> list[Float[Tensor, "tokens d_out"]]:
        """J_i v_i of every token, for each of these maps of other positions; what comes after a position is zero."""
        positions, known = [one.position for one in maps], [one._bias for one in maps]
        found, biases = each_alone(self.network, values, positions, known, self._pass_rows(), progress)
        for one, bias in zip(maps, biases, strict=True):
            one._bias = bias
        return found

    @passes
    def jacobian(self, progress: Progress | bool | None = None) -> Float[Tensor, "tokens d_out d_in"]:
        """J [T, d, d], rows first: J[i] @ x_i is token i's part of y. One reverse pass for every d rows, in chunks.

        ``progress(fraction, message)`` is called at every block of every chunk; when it raises, or returns False, the
        computation ends (``Cancelled``) and the map stays usable; ``progress=True`` draws a bar. The matrix lives on
        the device, in main memory or, where neither has room, in a scratch file. Raises EqlinError when there is no
        room at all.
        """
        arguments.called("progress", progress, shows=True)
        if self._jacobian is None:
            with shown(progress) as told:
                self._jacobian = self._matrix(told)
        return self._jacobian

    @property
    def has_jacobian(self) -> bool:
        """Whether the matrix has been computed."""
        return self._jacobian is not None

    @passes
    def logit_split(
        self,
        directions: Float[Tensor, "m d"] | Sequence[str | int] | str | int,
        baseline: str | int | Float[Tensor, " d"] = "zero",
        progress: Progress | None = None,
    ) -> tuple[Float[Tensor, "m tokens"], Float[Tensor, " m"]]:
        """(w . J_i (x_i - m) for every direction w and token i, w . (sum_i J_i m + b)): exact parts of each w . y.

        ``directions`` are vectors of the output space, as ``direction`` gives them, or tokens (texts or ids) whose
        logits are meant. ``baseline`` is m: "zero", "mean" (the mean embedding), a token, or a vector. One reverse pass
        for each direction where the contributions are not there yet, or where there is a baseline; ``progress`` is
        told at every block of it. Raises EqlinError for what is not a token.
        """
        arguments.called("progress", progress)
        w = self._directions(directions)
        if isinstance(baseline, str) and baseline == ZERO and self._contributions is not None:
            return w @ self._contributions.T, w @ self.bias
        rows, m = self._seen_by(w, progress), self.baseline(baseline)  # m, tokens, d
        terms = torch.einsum("mtd,td->mt", rows, self.inputs - m)
        return terms, torch.einsum("mtd,d->m", rows, m) + w @ self.bias

    def baseline(self, given: str | int | Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        """m: "zero", "mean" (the mean embedding), a token (text or id) or a vector. Raises EqlinError for others."""
        m = given if isinstance(given, Tensor) else baseline_embedding(self.lm, given)
        own = tuple(self.inputs.shape[1:])
        arguments.tensor("A baseline", m, f"[{own[0]}] (one vector)", lambda shape: shape == own)
        return usable(m).to(self.inputs)

    def _directions(self, given: Tensor | Sequence[str | int] | str | int) -> Float[Tensor, "m d"]:
        if isinstance(given, Tensor):
            return usable(arguments.rows("directions", given, len(self.output))).to(self.output)
        takes = "a tensor of directions, a token, or a list of tokens"
        one = isinstance(given, str) or arguments.as_whole(given) is not None
        tokens: Any = [given] if one else arguments.several("directions", given, takes)
        return self.lm.unembedding[[token_id(self.lm, t) for t in tokens]].to(self.output)

    def as_scipy(self) -> LinearOperator:
        """[J_1 ... J_T] as a SciPy operator of shape (d, T d), in float64 on the CPU side."""
        rows, columns = self.output.shape[0], self.inputs.numel()

        def forward(v: Any) -> Any:
            flat = torch.as_tensor(v.T.copy(), dtype=self.inputs.dtype).reshape(-1, *self.inputs.shape)
            return to_numpy(self.apply(flat.to(self.inputs.device))).T

        def reverse(u: Any) -> Any:
            flat = torch.as_tensor(u.T.copy(), dtype=self.inputs.dtype).reshape(-1, rows)
            return to_numpy(self.adjoint(flat.to(self.inputs.device)).reshape(-1, columns)).T

        return LinearOperator(
            shape=(rows, columns),
            matvec=lambda v: forward(v.reshape(-1, 1))[:, 0],
            rmatvec=lambda u: reverse(u.reshape(-1, 1))[:, 0],
            matmat=forward,
            rmatmat=reverse,
            dtype="float64",
        )

    @passes
    def exactness(self) -> Exactness:
        """The two errors of this run, from the contributions and, once there is one, from the matrix as well."""
        dtype = dtype_name(self.inputs.dtype)
        errors = [relative_error(self.sum_of(self.contributions()), self.output)]
        if self._jacobian is not None:
            product = wide(self.bias)
            for matrix, x in zip(self._jacobian, wide(self.inputs), strict=True):  # one token's matrix at a time
                product = product + (wide(matrix.to(self.inputs.device)) @ x).to(product.device)
            errors.append(relative_error(product, self.output))
        forward = relative_error(self.output, self.stock()[self.position])
        reconstruction_bound, forward_bound = bounds_of(dtype, self.products)
        leaks = list(self.network.leaks)
        if max(errors) > reconstruction_bound and not leaks:
            leaks = find_hidden_leaks(self.network, reconstruction_bound)
        exact = max(errors) <= reconstruction_bound and forward <= forward_bound and not leaks
        self._exactness = Exactness(max(errors), forward, dtype, exact, leaks, self.products)
        return self._exactness

    def stock(self) -> Float[Tensor, "tokens d"]:
        """The untouched model's values at the target, at every position: one pass, the first time it is asked for."""
        if not self._stock:
            self.network.require_same_weights()
            self._stock.append(_stock_value(self.network, token_tensor(self.lm, self.token_ids)))
        return self._stock[0]

    def sum_of(
        self, contributions: Float[Tensor, "tokens d"], constant: Float[Tensor, " d"] | None = None
    ) -> Float[Tensor, " d"]:
        """The tokens' vectors summed with b, or with another ``constant``, in float64: what should be y."""
        return wide(contributions).sum(0) + wide(self.bias if constant is None else constant)

    def _matrix(self, progress: Progress | None) -> Tensor:
        rows = self.output.shape[0]
        matrix = self._room_for_the_matrix(rows)
        identity = torch.eye(rows, dtype=self.output.dtype, device=self.output.device)
        report(progress, 0.0, "Matrix")

        def part(start: int, stop: int) -> None:
            with blocks_passed(self.network.block_nodes, progress, start / rows, stop / rows):
                matrix[:, start:stop] = self._reverse(identity[start:stop]).transpose(0, 1).to(matrix.device)
                wait(self.inputs.device)
            report(progress, stop / rows, "Matrix")

        budget.in_chunks(rows, self._chunk(), part)
        return matrix

    # ---- passes ----------------------------------------------------------------------------------------------------

    def _replay(self, v: Tensor) -> Tensor:
        out = self.network.replay(v)[:, self.position]
        return out - self.bias if bool(self.bias.any()) else out

    def _reverse(self, u: Tensor, positions: Sequence[int] | None = None) -> Tensor:
        self.network.require_same_weights()
        with torch.enable_grad():  # whatever the caller's mode is: a slice of the recorded graph belongs to it
            value = self.network.values if positions else self.network.values[self.position]
        if positions:  # each row looks back from a place of its own
            places = u.new_zeros(len(u), *value.shape)
            places[torch.arange(len(u)), list(positions)] = u
            u = places
        (rows,) = torch.autograd.grad(value, self.network.leaf, u, retain_graph=True, is_grads_batched=True)
        return rows[:, 0]

    def _pass_rows(self) -> int:
        """Rows of one forward replay."""
        live = self.convention.weight_share > 0
        return plan.pass_rows(self.lm, self.n_tokens, self.inputs.device, self.memory_budget, live=live)

    def _chunk(self) -> int:
        """Rows of one reverse pass: on a CPU it can be left at every block, elsewhere it ends within a second."""
        if self.inputs.device.type != "cpu":
            return self._pass_rows()
        live = self.convention.weight_share > 0
        return plan.chunk_rows(self.lm, self.n_tokens, self.inputs.device, self.memory_budget, live=live)

    def _room_for_the_matrix(self, rows: int) -> Tensor:
        shape = (self.n_tokens, rows, self.width)
        size = math.prod(shape) * self.inputs.element_size()
        place = plan.matrix_place(size, self.inputs.device, self.memory_budget)
        if place == "scratch file":
            return scratch_tensor(shape, self.inputs.dtype)
        return self.inputs.new_empty(shape, device="cpu" if place == "host" else None)


def checked_map(lin: Any) -> LinearMap:
    """``lin`` itself, which a public function takes. Raises EqlinError for anything but a LinearMap."""
    return arguments.instance("lin", lin, LinearMap, "a LinearMap, as linearize gives one")


@torch.no_grad()
def _stock_value(network: FrozenNetwork, ids: Tensor) -> Float[Tensor, "tokens d"]:
    """The value at the target of ``network``, from the untouched model."""
    decoder, target = network.decoder, network.target
    with eager_experts(network.lm.model):  # the fused experts know no float64
        if not isinstance(target, Site):
            return decoder(input_ids=ids[None], use_cache=False).last_hidden_state[0]
        value = stock_value(decoder, network.ends.layers[target.layer], ids, target.kind, network.ends.added)
    return (find_final_norm(decoder, network.ends.layers)(value) if network.ends.final_norm else value)[0]
