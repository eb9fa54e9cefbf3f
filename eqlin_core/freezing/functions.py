"""What a model computes between its modules, frozen: gates, mixing weights, choices, activations as functions.

A ``TorchFunctionMode`` sees every torch function of a pass together with the module it runs in. While recording it
decides what to hold and keeps it under (module, visit, function, count); while replaying it puts it back there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, no_type_check

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from eqlin_core.dtypes import coefficient_dtype
from eqlin_core.errors import EqlinError
from eqlin_core.freezing.actions import (
    Action,
    Call,
    Choose,
    Fix,
    Hold,
    Mix,
    Scale,
    Share,
    Uncast,
    Widen,
    depends,
    items,
    mixes_rows,
    multiply,
    narrower,
    rule_of,
    scale,
    shared,
    weights_of,
)
from eqlin_core.freezing.activations import Activation, holds_activations, probe_activation
from eqlin_core.freezing.mixing import mix
from eqlin_core.freezing.products import Role, Roles, gate_factor, norm_factor, weight_factor
from eqlin_core.freezing.reductions import held_deviation, held_largest
from eqlin_core.freezing.unread import StandIns, any_unread
from eqlin_core.runs.convention import Convention

_PRODUCTS = {"mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__"}
_ACTIVATIONS = {
    "silu", "gelu", "relu", "relu_", "relu6", "mish", "leaky_relu", "hardswish", "hardtanh",
    "clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_max",
}  # fmt: skip
_QUOTIENTS = {"div", "div_", "divide", "true_divide", "__truediv__", "__itruediv__"}
_MATRIX_PRODUCTS = {"matmul", "bmm", "__matmul__", "einsum"}
_ATTENTION = "scaled_dot_product_attention"
_ACCUMULATORS = {"zeros", "zeros_like", "new_zeros"}
_CHOICES = {"topk", "argmax", "sort", "argsort"}
_SQUARES = {"square", "pow", "__pow__"}
_REDUCTIONS = {"std", "scatter_reduce"}
_CASTS = {"float", "to", "type"}
_Key = tuple[str, int, str, int]


class OtherShapes(EqlinError):
    """A replay has come to a tensor of another shape than the one that was recorded."""


class FrozenFunctions(TorchFunctionMode):
    """The functions of one frozen network; enter it around a pass, after ``start``.

    ``keep(module, rule)`` is told every rule that was recorded. ``rules`` names the freezing rules that apply, of
    "gates", its part "activations", and "router". The modules ``uncast`` work in the precision of what they are given,
    without casts to a lower one. In the modules ``short_convolutions`` the left factor of a product is a gate, although
    no activation made it; in the modules ``lightning`` queries, keys and values are split from one tensor, and no
    softmax follows.
    """

    def __init__(
        self,
        convention: Convention,
        rules: Collection[str],
        keep: Callable[[str, str], None],
        uncast: Collection[str] = (),
        short_convolutions: Collection[str] = (),
        lightning: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.roles = Roles()
        self.token_by_token = False
        self.sorts = False  # whether rows are put in an order that depends on all of them
        self.tokens, self.first = 0, 0
        self.lean = True  # whether replays may have stand-ins for what is not read
        self.stand_ins = StandIns()
        self._convention, self._rules, self._keep = convention, rules, keep
        self._holds_activations = holds_activations(rules)
        self._uncast, self._short, self._lightning = uncast, short_convolutions, lightning
        self._kept: dict[_Key, Action] = {}
        self._scopes: set[str] = set()
        self._callers: dict[str, set[str]] = defaultdict(set)
        self._activations: dict[Any, Activation | None] = {}
        self.start(recording=True)

    def counts_in(self, name: str) -> bool:
        """Whether module ``name`` has to be entered and left in a replay, for what was frozen there or around it."""
        return name in self._scopes or bool(self._callers[name] & self._scopes)

    @property
    def module(self) -> str:
        """The innermost module that runs."""
        return self._running[-1][0]

    @property
    def mixes(self) -> bool:
        """Whether positions are mixed by held weights that stand between modules."""
        return bool(self._between())

    @property
    def mixers(self) -> list[str]:
        """The modules in which they are, and those whose own code is such a mixer."""
        return sorted(self._between() | set(self._short) | set(self._lightning))

    def _between(self) -> set[str]:
        return {key[0] for key in self._kept if key[2] in _MATRIX_PRODUCTS or key[2] == _ATTENTION}

    @property
    def chooses(self) -> bool:
        """Whether a discrete choice was held: then shapes may depend on values off the linear path."""
        return any(isinstance(action, Choose) for action in self._kept.values())

    def start(self, *, recording: bool) -> None:
        """A new pass begins at the outermost module."""
        self._recording = recording
        self._running: list[tuple[str, int]] = [("", 0)]
        self._visits: dict[str, int] = defaultdict(int)
        self._counts: dict[tuple[str, int, str], int] = defaultdict(int)
        self._paused = 0
        self.token_by_token = False

    def enter(self, name: str) -> None:
        """Module ``name`` starts."""
        if self._recording:
            self._callers[name].add(self.module)
        self._running.append((name, self._visits[name]))
        self._visits[name] += 1

    def leave(self) -> None:
        """The innermost running module ends."""
        self._running.pop()

    def forget(self, name: str) -> None:
        """What was frozen inside module ``name`` is not needed: its whole output is replaced or never read."""
        self._scopes.discard(name)
        for key in [key for key in self._kept if key[0] == name]:
            del self._kept[key]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the context functions run as they are: the engine's own arithmetic is no part of the network."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def fit(self, held: Tensor, live: Tensor) -> Tensor:
        """A tensor recorded on one prompt, repeated to the rows of the tensor that it replaces in a batch.

        Raises EqlinError, naming the module, where the replay has come to a tensor of another shape.
        """
        if self.first:
            held = self._from_first(held, live)
        if held.dim() == live.dim() and held.dim() and held.shape[0] not in (1, live.shape[0]):
            copies = live.shape[0] // held.shape[0]
            rest = [1] * (held.dim() - 1)
            held = held.repeat_interleave(copies, 0) if self.token_by_token else held.repeat(copies, *rest)
        if any(h not in (1, n) for h, n in zip(held.shape[::-1], live.shape[::-1], strict=False)):
            raise OtherShapes(
                f"{self._running[-1][0] or 'The model'} computes other shapes for another input, so it cannot be "
                "frozen; choose another model."
            )
        return held

    def _from_first(self, held: Tensor, live: Tensor) -> Tensor:
        """A recorded tensor without the positions before ``first``, where the replayed one has none of them."""
        left = self.tokens - self.first
        for dim, (h, n) in enumerate(zip(held.shape, live.shape, strict=False)):
            rows = dim == 0 and held.dim() == 2 and n % left == 0  # positions of all prompts, one after the other
            if held.dim() == live.dim() and h == self.tokens and (n == left or rows):
                held = held.narrow(dim, self.first, left)
        return held

    @no_type_check  # runs for every function of a pass: checking it would take longer than the pass
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self._paused or name == "__get__":
            return func(*args, **kwargs)
        if name == "_set_grad_enabled" and args == (False,):  # what a model does without gradients is part of the map
            return None
        module, visit = self._running[-1]
        unread = self.lean and not self._recording and any_unread(args, kwargs)
        if not self._recording and module not in self._scopes:
            return self.stand_ins.after(func, name, args, kwargs) if unread else func(*args, **kwargs)
        if name == "einsum" and len(args) == 2 and isinstance(args[1], list | tuple):
            args = (args[0], *args[1])
        place = (module, visit, name)
        key = (*place, self._counts[place])
        self._counts[place] += 1
        if self._recording:
            return self._record(key, func, args, kwargs)
        return self._replay(key, func, args, kwargs, unread)

    # ---- recording --------------------------------------------------------------------------------------------------

    def _record(self, key: _Key, func: Any, args: Any, kwargs: Any) -> Any:
        name = key[2]
        self.sorts = self.sorts or name in ("sort", "argsort")
        two = len(args) == 2 and not kwargs and (name in _PRODUCTS or name in _QUOTIENTS)
        action = self._of_two(key, args) if two else None
        if action is not None:
            return self._held_product(key, func, args, action)
        made = self._special(key, func, args, kwargs)
        if made is not None:
            return made
        out = func(*args, **kwargs)
        if key[0] in self._uncast and name in _CASTS and depends(args[0]) and narrower(out, args[0]):
            self._remember(key, Uncast())
            return args[0]
        if key[0] in self._uncast and name in _ACCUMULATORS and isinstance(out, Tensor) and out.dtype == torch.float32:
            self._remember(key, Widen())
            return out.double()
        if not isinstance(out, bool | int | float | torch.Size | torch.dtype):
            chosen = {i: t for i, t in enumerate(items(out)) if isinstance(t, Tensor) and not t.is_floating_point()}
            # routers may choose by scores that are detached
            if chosen and (name in _CHOICES or any(depends(t) for t in (*items(args), *kwargs.values()))):
                self._remember(key, Choose({i: t.clone() for i, t in chosen.items()}))
                if name in _CHOICES:
                    self._keep(key[0], "choice of experts held")
        return out

    def _of_two(self, key: _Key, args: Any) -> Hold | Share | None:
        """What to hold of a product or a quotient of two tensors."""
        module, _, name, _ = key
        on_path = [depends(arg) for arg in args]
        if not any(on_path):
            return None
        if not all(on_path):
            return self._gate_of_constant(module, args, on_path.index(True)) if name in _PRODUCTS else None
        if name in _PRODUCTS:
            return self._product(module, *args)
        divided, divisor = map(self.roles.of, args)
        if divisor not in (Role.NORM, Role.WEIGHT) or divided not in (Role.LINEAR, Role.GATE):
            return None
        if "norms" not in self._rules:
            return None
        self._keep(module, "norm denominator held" if divisor is Role.NORM else "divisor held")
        return Hold(1, args[1].detach())

    def _gate_of_constant(self, module: str, args: Any, gate: int) -> Hold | None:
        """The gate of what is the same at every token for every input, as of embeddings of token ids."""
        constant = args[1 - gate]
        if not isinstance(constant, Tensor) or constant.dim() < 3 or constant.shape[:2] != (1, self.tokens):
            return None
        if not constant.is_floating_point() or self.roles.of(args[gate]) is not Role.WEIGHT:
            return None
        if "gates" not in self._rules:
            return None
        self._keep(module, "gates of constants held")
        return Hold(gate, args[gate].detach())

    def _held_product(self, key: _Key, func: Any, args: Any, action: Hold | Share) -> Tensor:
        self._remember(key, action)
        if isinstance(action, Share):
            out = shared(args[0], args[1], action)
            self.roles.mark_linear(out)
            return out
        out = multiply(func, key[2], args, action.operand, action.value)
        by_weight = key[2] in _PRODUCTS and self.roles.of(args[action.operand]) is Role.WEIGHT
        if by_weight and not mixes_rows(args, action.operand):
            self.roles.mark_gate(out)  # x * sigmoid(...) written out
        return out

    def _special(self, key: _Key, func: Any, args: Any, kwargs: Any) -> Any:
        """What is no product of two tensors and is held all the same: attention, squares, activations."""
        if "attention" in self._rules:
            mixed = self._mixer(key, func, args, kwargs)
            if mixed is not None:
                return mixed
        name = key[2]
        if name in _REDUCTIONS:
            return self._reduction(key, func, args, kwargs)
        if not self._holds_activations or not args or not depends(args[0]):
            return None
        if name in _SQUARES and self.roles.of(args[0]) is Role.GATE and tuple(args[1:]) in ((), (2,)):
            self._keep(key[0], "square as x x, one of them held")
            self._remember(key, Scale(args[0].detach()))
            out: Tensor = args[0].detach() * args[0]
            self.roles.mark_gate(out)
            return out
        return self._activation(key, func, args, kwargs) if name in _ACTIVATIONS else None

    def _mixer(self, key: _Key, func: Any, args: Any, kwargs: Any) -> Any:
        """What mixes positions outside the attention interface, by held weights."""
        name = key[2]
        if name == "split" and key[0] in self._lightning and depends(args[0]):
            parts = func(*args, **kwargs)
            self._keep(key[0], "queries, keys and decay held, values linear")
            self._remember(key, Fix({i: part.detach() for i, part in enumerate(parts[:2])}))
            self.roles.mark_linear(parts[2])
            return (parts[0].detach(), parts[1].detach(), *parts[2:])
        if name == _ATTENTION:
            return self._attention(key, args, kwargs)
        factors = args[-2:]
        if name in _MATRIX_PRODUCTS and len(args) == 2 + (name == "einsum") and all(map(depends, factors)):
            side = weight_factor(*map(self.roles.of, factors))
            if side is not None:
                weights = factors[side].detach()
                over_tokens = weights.shape[-1] == self.tokens
                self._keep(key[0], "attention weights held, values linear" if over_tokens else "mixing weights held")
                return self._held_product(key, func, args, Hold(side + len(args) - 2, weights))
        return None

    def _reduction(self, key: _Key, func: Any, args: Any, kwargs: Any) -> Tensor | None:
        """A standard deviation, or the largest of each group of rows, as a linear function with the same value."""
        spreads = key[2] == "std"
        if ("norms" if spreads else "router") not in self._rules:
            return None
        found = held_deviation(func, args, kwargs) if spreads else held_largest(args, kwargs)
        if found is None:
            return None
        self._remember(key, found[0])
        self._keep(key[0], "deviation from the mean held" if spreads else "choice of the largest held")
        return found[0].of(found[1])

    def _attention(self, key: _Key, args: Any, kwargs: Any) -> Tensor | None:
        """Torch's attention function, its weights held."""
        given = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False)) | kwargs
        if not depends(given["value"]):
            return None
        with torch.no_grad():
            weights = weights_of(given)
        self._remember(key, Mix(weights))
        self._keep(key[0], "attention weights held, values linear")
        return mix(weights, given["value"]).transpose(1, 2)

    def _product(self, module: str, left: Tensor, right: Tensor) -> Hold | Share | None:
        roles, factors = (self.roles.of(left), self.roles.of(right)), (left, right)
        gate, weight, norm = gate_factor(*roles), weight_factor(*roles), norm_factor(*roles)
        held = weight if norm is None else norm
        if held is None and module in self._short and roles == (Role.LINEAR, Role.LINEAR):
            self._keep(module, "B and C held, x linear")
            return Hold(0, left.detach()) if "gates" in self._rules else None
        if held is not None:
            rule, said = rule_of(factors, weight)
            if rule not in self._rules and not (rule == "gates" and self._holds_activations):
                return None
            self._keep(module, said)
            return Hold(held, factors[held].detach())
        if gate is None or "gates" not in self._rules:
            return None
        share = self._convention.gate_share
        if share in (0, 1):
            side = gate if share == 0 else 1 - gate
            self._keep(module, "gate held whole, up linear" if share == 0 else "up held, gate linear")
            return Hold(side, factors[side].detach())
        self._keep(module, f"gate held whole, up linear ({1 - share:.3g} of it), up held, gate linear ({share:.3g})")
        return Share(left.detach(), right.detach(), share if gate == 0 else 1 - share)

    def _activation(self, key: _Key, func: Any, args: Any, kwargs: Any) -> Tensor | None:
        x, *rest = args
        if self.roles.of(x) not in (Role.LINEAR, Role.GATE) or any(isinstance(a, Tensor) for a in rest):
            return None
        kind = (func, repr(rest), repr(kwargs))
        if kind not in self._activations:
            with torch.no_grad():
                self._activations[kind] = probe_activation(lambda g: func(g, *rest, **kwargs), x.device)
        activation = self._activations[kind]
        if activation is None or activation.factor is None:
            return None
        with torch.no_grad():
            factor = activation.factor(x.detach().to(coefficient_dtype(x.dtype)))
        self._remember(key, Scale(factor))
        self._keep(key[0], f"{activation.name} as s(x) x")
        out = scale(key[2], x, factor, kwargs)
        if activation.name != "clipping":  # a clipped tensor may be either side of a gate
            self.roles.mark_gate(out)
        return out

    def _remember(self, key: _Key, action: Action) -> None:
        self._kept[key] = action
        self._scopes.add(key[0])

    # ---- replaying --------------------------------------------------------------------------------------------------

    def _replay(self, key: _Key, func: Any, args: Any, kwargs: Any, unread: bool) -> Any:
        action = self._kept.get(key)
        if unread and (action is None or any_unread(action.reads(args, kwargs), None)):
            return self.stand_ins.after(func, key[2], args, kwargs)
        if action is not None:
            return action.again(Call(func, key[2], args, kwargs, self.fit, self.first))
        if key[2] == "view" and not args[0].is_contiguous():  # an output that nobody reads lies in another order
            return args[0].contiguous().view(*args[1:], **kwargs)
        return func(*args, **kwargs)
