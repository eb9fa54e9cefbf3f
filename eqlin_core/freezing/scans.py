"""Recurrent mixers with their coefficients held: delta rules, state spaces, RWKV and gated linear recurrences.

Each is a function of transformers that is linear in one of its arguments once the others are held. While a pass is
recorded that function is asked for its coefficients; afterwards they are applied to other values, in the precision of
the linear path. A mixer whose heads share one pair of positions' weight is a matrix of such weights [T, T] for every
head, which the function itself gives for the identity as its values; one whose channels differ is replayed as the
recurrence that it is, so that no [channels, T, T] is ever stored.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eqlin_core.errors import EqlinError
from eqlin_core.freezing.functions import FrozenFunctions
from eqlin_core.freezing.mixing import mix

Arguments = Mapping[str, Any]


@runtime_checkable
class Held(Protocol):
    """The coefficients of one call, which are applied to its values."""

    def apply(self, value: Tensor, first: int) -> Tensor:
        """What the function gives for these values, whose positions begin at ``first``."""


@dataclass(frozen=True)
class Mixing:
    """One causal matrix of weights for every head."""

    weights: Float[Tensor, "1 heads queries keys"]

    def apply(self, value: Tensor, first: int) -> Tensor:
        """Values [batch, T, heads, e], mixed."""
        return mix(self.weights[..., first:, first:], value.transpose(1, 2))


@dataclass(frozen=True)
class HeadsFirst:
    """The same where values have their heads before their positions."""

    weights: Float[Tensor, "1 heads queries keys"]

    def apply(self, value: Tensor, first: int) -> Tensor:
        """Values [batch, heads, T, e], mixed."""
        return mix(self.weights[..., first:, first:], value).transpose(1, 2)


@dataclass(frozen=True)
class StateSpace:
    """s_t = decay_t s_{t-1} + enter_t x_t and y_t = <read_t, s_t> + skip x_t for every channel: a selective scan."""

    decay: Float[Tensor, "1 channels T n"]
    enter: Float[Tensor, "1 channels T n"]
    read: Float[Tensor, "1 T n"]
    skip: Float[Tensor, " channels"] | None

    def apply(self, value: Tensor, first: int) -> Tensor:
        """Values [batch, channels, T], passed through the recurrence."""
        decay, enter, read = (t.to(value.dtype) for t in (self.decay, self.enter, self.read))
        state = value.new_zeros(*value.shape[:2], decay.shape[-1])
        out = []
        for t in range(value.shape[2]):
            state = decay[:, :, first + t] * state + enter[:, :, first + t] * value[:, :, t, None]
            out.append((state * read[:, first + t, None]).sum(-1))
        found = torch.stack(out, dim=-1)
        return found if self.skip is None else found + self.skip.to(value.dtype)[:, None] * value


@dataclass(frozen=True)
class Diagonal:
    """y_t = before_t s_{t-1} + now_t x_t and s_t = decay_t s_{t-1} + enter_t x_t for every channel."""

    before: Float[Tensor, "1 T channels"]
    now: Float[Tensor, "1 T channels"]
    decay: Float[Tensor, "1 T channels"]
    enter: Float[Tensor, "1 T channels"]

    def apply(self, value: Tensor, first: int) -> Tensor:
        """Values [batch, T, channels], passed through the recurrence."""
        before, now, decay, enter = (t.to(value.dtype) for t in (self.before, self.now, self.decay, self.enter))
        state, out = torch.zeros_like(value[:, 0]), []
        for t in range(value.shape[1]):
            x, at = value[:, t], first + t
            out.append(before[:, at] * state + now[:, at] * x)
            state = decay[:, at] * state + enter[:, at] * x
        return torch.stack(out, dim=1)


@dataclass(frozen=True)
class Scan:
    """A function by the argument in which it is linear, how the others are held, what returns beside the values."""

    value: str
    hold: Callable[[Callable[..., Any], Arguments], Held]
    rule: str
    pair: Callable[[Arguments], bool]


def _mixing(value: str) -> Callable[[Callable[..., Any], Arguments], Held]:
    def hold(stock: Callable[..., Any], given: Arguments) -> Held:
        _, T, H, _ = given[value].shape
        identity = torch.eye(T).to(given[value])[None, :, None].expand(1, T, H, T).contiguous()
        out = stock(**{**given, value: identity})
        out = out[0] if isinstance(out, tuple) else out
        return Mixing(out.permute(0, 2, 1, 3).contiguous())  # [1, T, heads, T] to [1, heads, queries, keys]

    return hold


def _heads_first(stock: Callable[..., Any], given: Arguments) -> Held:
    """Of a function of values [batch, heads, T, e]."""
    _, H, T, _ = given["value"].shape
    identity = torch.eye(T).to(given["value"]).expand(1, H, T, T).contiguous()
    out = stock(**{**given, "value": identity})
    return HeadsFirst(out[0] if isinstance(out, tuple) else out)


def _state_space(_stock: Callable[..., Any], given: Arguments) -> Held:
    dt = given["dt"]
    if given.get("delta_bias") is not None:
        dt = dt + given["delta_bias"].to(dt.dtype)[..., None]
    if given.get("delta_softplus"):
        dt = nn.functional.softplus(dt)
    B, C = given["B"].transpose(1, 2), given["C"].transpose(1, 2)
    decay = torch.exp(given["A"][None, :, None, :] * dt[..., None])
    return StateSpace(decay, dt[..., None] * B[:, None].to(dt.dtype), C, given.get("D"))


def _rwkv(_stock: Callable[..., Any], given: Arguments) -> Held:
    decay, bonus, key = -torch.exp(given["time_decay"]), given["time_first"], given["key"].float()
    weight = torch.zeros_like(key[:, 0])
    top = torch.full_like(weight, -1e38)
    rows = []
    for k in key.unbind(1):  # numbers are kept relative to the largest exponent so far
        most = torch.maximum(top, k + bonus)
        before, now = torch.exp(top - most), torch.exp(k + bonus - most)
        total = before * weight + now
        most_next = torch.maximum(top + decay, k)
        carry, enter = torch.exp(top + decay - most_next), torch.exp(k - most_next)
        rows.append((before / total, now / total, carry, enter))
        weight, top = carry * weight + enter, most_next
    return Diagonal(*(torch.stack(column, dim=1) for column in zip(*rows, strict=True)))


def _recurrent(_stock: Callable[..., Any], given: Arguments) -> Held:
    gate = given["recurrent_gate"] * ~given["reset"]
    ones = torch.ones_like(gate)
    return Diagonal(gate, ones, gate, ones)


def _asks_for(name: str) -> Callable[[Arguments], bool]:
    return lambda given: bool(given.get(name))


_DELTA = Scan("value", _mixing("value"), "queries, keys, decay and beta held, values linear", lambda _: True)
SCANS: dict[str, Scan] = {
    "torch_chunk_gated_delta_rule": _DELTA,
    "chunk_kimi_delta_attention": _DELTA,
    "mamba2_chunk_scan": Scan(
        "hidden_states",
        _mixing("hidden_states"),
        "time step, A, B and C held, values linear",
        _asks_for("return_final_states"),
    ),
    "mamba_selective_scan": Scan(
        "hidden_states", _state_space, "time step, B and C held, values linear", _asks_for("return_last_state")
    ),
    "rwkv_linear_attention": Scan("value", _rwkv, "keys and decay held, values linear", lambda _: True),
    "_rnn_scan": Scan("hidden_states", _recurrent, "recurrent gates held, values linear", lambda _: True),
}
# The same for modules that are such a function as a whole, by their class.
MODULE_SCANS: dict[str, Scan] = {
    "xLSTMBackend": Scan("value", _heads_first, "queries, keys and gates held, values linear", lambda _: True),
}
# Functions with a backward pass of their own that saves memory, which are run as the plain functions that they are.
REVERSIBLE = ("_ReversibleFunction", "ReverseSort")
# Arguments that bring a state from an earlier call, which a pass over a whole prompt has none of.
_STATES = ("initial_state", "initial_states", "state", "recurrent_states", "c_initial")


class FrozenScans:
    """The recurrent mixers of one frozen network, with the coefficients of every call.

    Attributes: ``places``, where their functions are called; ``modules``, those that called one.
    ``keep(module, rule)`` is told every rule that was recorded; ``functions`` knows which module runs.
    """

    def __init__(self, model: nn.Module, functions: FrozenFunctions, keep: Callable[[str, str], None]) -> None:
        self.places = _places(model)
        self._functions, self._keep = functions, keep
        self._kept: list[Held] = []
        self.modules: list[str] = []
        self._calls = 0
        self._recording = True

    def start(self, *, recording: bool) -> None:
        """A new pass begins."""
        self._recording, self._calls = recording, 0

    def called(self, name: str, stock: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The function ``name`` is called in a pass of the network."""
        scan = SCANS.get(name) or MODULE_SCANS[name]
        with self._functions.paused():
            given = _given(stock, args, kwargs)
            value = given[scan.value]
            if self._recording:
                self._record(scan, stock, given)
            held = self._kept[self._calls]
            self._calls += 1
            out = held.apply(value, self._functions.first)
            if self._recording:  # values may be activations, which gate nothing any more once they are mixed
                self._functions.roles.mark_linear(out)
        z = given.get("z")
        if z is not None:  # a gate like any other, which the convention splits
            out = out * nn.functional.silu(z)
        return (out, None) if scan.pair(given) else out

    @torch.no_grad()
    def _record(self, scan: Scan, stock: Callable[..., Any], given: Arguments) -> None:
        module = self._functions.module
        if any(given.get(state) is not None for state in _STATES):
            raise EqlinError(f"{module} goes on from a state of its own, which cannot be frozen at one prompt.")
        detached = {k: v.detach() if isinstance(v, Tensor) else v for k, v in given.items() if k != "z"}
        self._kept.append(scan.hold(stock, detached))
        self.modules.append(module)
        self._keep(module, scan.rule)


def _given(stock: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by their names."""
    bound = inspect.signature(stock).bind(*args, **kwargs)
    given = dict(bound.arguments)
    return given | given.pop("kwargs", {})


# ---- where the functions are called ---------------------------------------------------------------------------------

_thread = threading.local()
_lock = threading.Lock()
_users: dict[tuple[Any, str], int] = {}


@contextmanager
def frozen_scans(scans: FrozenScans) -> Iterator[None]:
    """Within the context what this thread calls of ``SCANS`` in its model's classes goes to ``scans``.

    Other threads, and other models of the same classes, get the stock functions; these are back when nobody is within.
    """
    places = scans.places
    if not places:
        yield
        return
    with _lock:
        for place in places:
            _users[place] = _users.get(place, 0) + 1
            if _users[place] == 1:
                holder, name = place
                setattr(holder, name, _dispatching(holder, name, getattr(holder, name)))
    before, _thread.scans = getattr(_thread, "scans", None), scans
    try:
        yield
    finally:
        _thread.scans = before
        with _lock:
            for place in places:
                _users[place] -= 1
                if not _users[place]:
                    holder, name = place
                    del _users[place]
                    if isinstance(holder, nn.Module):  # its class has the method
                        delattr(holder, name)
                    else:
                        setattr(holder, name, getattr(holder, name).__wrapped__)


def _places(model: nn.Module) -> list[tuple[Any, str]]:
    """The Python modules and classes that have one of the functions, for the classes of this model's modules."""
    found: dict[tuple[int, str], tuple[Any, str]] = {}
    modules = list(model.modules())
    for kind in {type(module) for module in modules}:
        for holder in (sys.modules.get(kind.__module__), *kind.__mro__):
            for name in (*SCANS, *REVERSIBLE):
                if holder is not None and name in vars(holder):
                    found[id(holder), name] = (holder, name)
    for module in modules:
        if type(module).__name__ in MODULE_SCANS:
            found[id(module), "forward"] = (module, "forward")
    return list(found.values())


def _dispatching(holder: Any, name: str, stock: Callable[..., Any]) -> Any:
    if isinstance(holder, nn.Module):
        name = type(holder).__name__
    if name in REVERSIBLE:
        return _Plain(stock)
    if name.startswith("_"):  # a method

        @functools.wraps(stock)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            scans = getattr(_thread, "scans", None)
            if scans is None:
                return stock(self, *args, **kwargs)
            return scans.called(name, functools.partial(stock, self), args, kwargs)

        return method

    @functools.wraps(stock)
    def function(*args: Any, **kwargs: Any) -> Any:
        scans = getattr(_thread, "scans", None)
        return stock(*args, **kwargs) if scans is None else scans.called(name, stock, args, kwargs)

    return function


class _Plain:
    """An autograd function that is run without its backward pass within a pass of a frozen network."""

    def __init__(self, stock: Any) -> None:
        self.__wrapped__ = stock

    def apply(self, *args: Any) -> Any:
        """What the function gives, as one node of the graph or as all that it is made of."""
        if getattr(_thread, "scans", None) is None:
            return self.__wrapped__.apply(*args)
        return self.__wrapped__.forward(SimpleNamespace(save_for_backward=lambda *_: None), *args)
