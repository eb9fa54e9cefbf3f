"""Record and replay: a transformers decoder whose softmax weights, norm denominators and gates are held fixed.

One forward pass of the untouched model under temporary hooks *records* every coefficient; its autograd graph is then a
linear function, audited node by node. Later passes *replay* the coefficients on other inputs. No modelling file is
changed: norms and activations answer through forward hooks, attention through the public attention interface, and all
of it is gone when the pass ends (Golden 2025, sections 3 and A).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eqlin_core.activations import CLOSED_FORMS, ActivationOutput, probe_activation
from eqlin_core.attention import frozen_attention
from eqlin_core.errors import EqlinError
from eqlin_core.leaks import GraphNames, find_leaks, reachable
from eqlin_core.models import LanguageModel
from eqlin_core.norms import NormRule, coefficient_dtype, probe_norm

GatedPath = Literal["up", "gate"]
# Leaf modules that are linear (or not on the path at all) whatever they are given.
_PASSIVE = (nn.Linear, nn.Embedding, nn.Dropout, nn.Identity)


@dataclass(frozen=True)
class Site:
    """A place in block ``layer`` (counted from 0): its "input", what "attn" or "mlp" adds, or the block's output "layer"."""

    layer: int
    kind: Literal["input", "attn", "mlp", "layer"]


@dataclass(frozen=True)
class Frozen:
    """One module's frozen rule, as reports show it."""

    module: str
    class_name: str
    rule: str


class FrozenNetwork:
    """A decoder frozen at one prompt, from ``source`` to ``target``.

    Attributes: ``inputs`` [T, d] at the source; ``leaf`` [1, T, d] and ``values`` [T, d] at the target, joined by the
    recorded autograd graph; ``leaks``, what that graph holds that is not linear; ``rules``, how modules were frozen.
    """

    def __init__(
        self,
        lm: LanguageModel,
        embeddings: Float[Tensor, "tokens d"],
        *,
        source: Site | Literal["embedding"] = "embedding",
        target: Site | Literal["output"] = "output",
        final_norm: bool = True,
        gated_path: GatedPath = "up",
    ) -> None:
        self.lm, self.source, self.target = lm, source, target
        self.final_norm, self.gated_path = final_norm, gated_path
        self.replaying = False
        self.decoder = lm.model.get_decoder()
        self.layers = find_layers(self.decoder, lm.n_layers)
        for site in (source, target):
            _check_site(site, len(self.layers))
        self.rules: dict[str, Frozen] = {}
        self._kept: dict[str, list[Any]] = defaultdict(list)
        self._calls: dict[str, int] = defaultdict(int)
        self._names = {module: name for name, module in lm.model.named_modules()}
        self._skipped: set[nn.Module] = set()
        self._last_norm: NormRule | None = None
        self._probing = False
        self._record(embeddings)

    # ---- the two kinds of pass --------------------------------------------------------------------------------------

    def _record(self, embeddings: Tensor) -> None:
        graph = GraphNames()
        produced: dict[nn.Module, Any] = {}
        self._graph, self._produced = graph, produced
        with torch.enable_grad():
            values, leaf = self._run(embeddings[None])
            self.leaf = leaf
            self.inputs = leaf.detach()[0]
            self.values = values[0]
        nodes = reachable(self.values)
        self.leaks = find_leaks(nodes, graph, self.inputs.dtype)
        # A projection whose output the linear path never reads (queries, keys, gates) is not worth replaying in full.
        self._skipped = {m for m, node in produced.items() if node is not None and node not in nodes}
        del self._graph, self._produced
        self.replaying = True

    @torch.no_grad()
    def replay(self, v: Float[Tensor, "batch tokens d"]) -> Float[Tensor, "batch tokens d"]:
        """The frozen network's affine value at the target for other source values ``v``, every coefficient held."""
        return self._run(v)[0]

    def _run(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """(target [batch, T, d], leaf at the source) of one pass under hooks."""
        self._calls.clear()
        seen: dict[str, Tensor] = {}
        with self._hooks(v, seen), frozen_attention(self.lm.model, self):
            try:
                at_embedding = v.detach()[:1] if isinstance(self.source, Site) and self.replaying else v.detach()
                if not isinstance(self.source, Site):
                    at_embedding = seen["leaf"] = v if self.replaying else v.detach().requires_grad_()
                out = self.decoder(inputs_embeds=at_embedding, use_cache=False)
                seen.setdefault("target", out.last_hidden_state)
            except _Reached:
                pass
        target = seen["target"]
        if isinstance(self.target, Site) and self.final_norm:
            target = self._through_final_norm(target)
        return target, seen["leaf"]

    # ---- hooks ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _hooks(self, v: Tensor, seen: dict[str, Tensor]) -> Iterator[None]:
        with ExitStack() as stack:

            def add(register: Callable[..., Any], hook: Callable[..., Any], **options: Any) -> None:
                handle = register(hook, with_kwargs=True, **options)
                stack.callback(handle.remove)

            for module, name in self._names.items():
                if not self.replaying:
                    add(module.register_forward_pre_hook, self._before)
                if not any(module.children()):
                    self._hook_leaf(module, name, add)
                if not self.replaying:
                    add(module.register_forward_hook, self._after)
            if isinstance(self.source, Site):
                add(self.layers[self.source.layer].register_forward_pre_hook, _entering(v, seen, self.replaying))
            if isinstance(self.target, Site):
                add(self.layers[self.target.layer].register_forward_hook, _leaving(seen))
            yield

    def _hook_leaf(self, module: nn.Module, name: str, add: Callable[..., None]) -> None:
        if self.replaying:
            if module in self._skipped:
                rows: list[int] = []
                add(module.register_forward_pre_hook, _first_row(rows))
                add(module.register_forward_hook, lambda m, a, k, out: out.expand(rows.pop(), *out.shape[1:]))
            elif name in self._kept:
                held: list[Tensor] = []
                add(module.register_forward_pre_hook, _set_aside(held))
                add(module.register_forward_hook, lambda m, a, k, out: self._replay_leaf(name, held.pop()))
        elif not isinstance(module, _PASSIVE):
            add(module.register_forward_hook, lambda m, a, k, out: self._record_leaf(m, name, a, k, out))

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if not self._probing:
            self._graph.enter(self._names[module], _tensors((args, list(kwargs.values()))))

    def _after(self, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        if self._probing:
            return
        tensors = _tensors(out)
        self._graph.leave(tensors)
        if isinstance(out, Tensor) and hasattr(module, "weight") and not any(module.children()):
            self._produced[module] = out.grad_fn

    def _record_leaf(self, module: nn.Module, name: str, args: Any, kwargs: Any, out: Any) -> Tensor | None:
        """Freeze a leaf module that turns out to be a norm or an activation; leave any other to the audit."""
        x = args[0] if args else next(iter(kwargs.values()), None)
        if self._probing or not (isinstance(x, Tensor) and isinstance(out, Tensor) and x.is_floating_point()):
            return None
        if x.shape != out.shape or not x.requires_grad or len(args) + len(kwargs) != 1:
            return None
        call = self._prober(module)
        norm = probe_norm(module, call, x)
        if norm is not None:
            coefficient = norm.coefficient(x)
            self._keep(name, module, (norm, coefficient), norm.description)
            self._last_norm = norm
            return norm.linear(x, coefficient).to(out.dtype)
        if not any(True for _ in module.parameters(recurse=False)):
            activation = probe_activation(call, x)
            if activation is not None:
                return self._record_activation(module, name, x, out, *activation)
        return None

    def _record_activation(
        self, module: nn.Module, name: str, x: Tensor, out: Tensor, form: str, closed: bool
    ) -> Tensor:
        wide = x.detach().to(coefficient_dtype(x.dtype))

        def factor() -> Tensor:
            if not closed:
                raise EqlinError(
                    f"{name} ({type(module).__name__}) has no known closed form act(x) = s(x) x, so it cannot be "
                    "frozen on the linear path; choose another model or gated_path='up'."
                )
            return CLOSED_FORMS[form](wide)

        def on_gate(other: Tensor) -> Tensor:
            if self.gated_path == "up":
                self._keep(name, module, ("held", out.detach()), f"{form} gate, held whole; the up path is linear")
                return out.detach() * other
            coefficient = factor() * other.detach().to(wide.dtype)
            self._keep(name, module, ("gate", coefficient), f"{form} gate, linear; the up path is held")
            return (coefficient * x.to(wide.dtype)).to(out.dtype)

        def on_plain() -> Tensor:
            coefficient = factor()
            self._keep(name, module, ("plain", coefficient), f"{form}, as s(x) x")
            return (coefficient * x.to(wide.dtype)).to(out.dtype)

        return ActivationOutput.waiting(out, on_gate, on_plain)

    def _replay_leaf(self, name: str, x: Tensor) -> Tensor:
        rule, coefficient = self._next(name)
        if isinstance(rule, NormRule):
            return rule.linear(x, coefficient)
        if rule == "held":
            return coefficient
        linear = (coefficient * x.to(coefficient.dtype)).to(x.dtype)
        return linear if rule == "plain" else _Absorbing.of(linear)

    def _prober(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            self._probing = True
            try:
                with torch.no_grad():
                    return module(x)
            finally:
                self._probing = False

        return call

    # ---- coefficients -----------------------------------------------------------------------------------------------

    def _keep(self, name: str, module: nn.Module, kept: Any, rule: str) -> None:
        self._kept[name].append(kept)
        self.rules[name] = Frozen(name, type(module).__name__, rule)

    def _next(self, name: str) -> Any:
        position = self._calls[name]
        self._calls[name] += 1
        return self._kept[name][position]

    def weights(self, module: nn.Module, compute: Callable[[], Tensor]) -> Tensor:
        """Attention weights of one module: recorded in the first pass, looked up in every later one."""
        name = self._names[module] + " weights"
        if self.replaying:
            return self._next(name)
        weights = compute()
        self._keep(name, module, weights, "attention weights held; values are linear")
        return weights

    def _through_final_norm(self, target: Tensor) -> Tensor:
        """The final norm applied at an intermediate place, its denominator held at that place's own value."""
        if not self.replaying:
            self._final = self._probe_final_norm(target)
        rule, coefficient = self._final
        return rule.linear(target, coefficient)

    def _probe_final_norm(self, target: Tensor) -> tuple[NormRule, Tensor]:
        module = find_final_norm(self.decoder, self.layers)
        rule = probe_norm(module, module, target)
        if rule is None:
            raise EqlinError(f"{self._names[module]} is not a norm that can be frozen; use final_norm=False.")
        return rule, rule.coefficient(target)


class _Reached(Exception):  # noqa: N818 - not an error: it ends a pass whose target has been reached
    pass


class _Absorbing(torch.Tensor):
    """A replayed gate that already contains the factor it is about to be multiplied with."""

    @staticmethod
    def of(value: Tensor) -> Tensor:
        return value.as_subclass(_Absorbing)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if len(args) == 2 and "mul" in getattr(func, "__name__", ""):
                return (args[0] if isinstance(args[0], cls) else args[1]).as_subclass(Tensor)
            return func(*args, **(kwargs or {}))


def find_layers(decoder: nn.Module, n_layers: int) -> nn.ModuleList:
    """The decoder's list of blocks. Raises EqlinError where there is none of the length that the config promises."""
    for module in decoder.children():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return module
    raise EqlinError(f"{type(decoder).__name__} has no list of {n_layers} blocks, so its layers cannot be found.")


def find_final_norm(decoder: nn.Module, layers: nn.ModuleList) -> nn.Module:
    """The norm between the last block and the output: the last leaf child of the decoder after its blocks."""
    after = False
    found = None
    for child in decoder.children():
        after = after or child is layers
        if after and not any(child.children()) and isinstance(getattr(child, "weight", None), Tensor):
            found = child
    if found is None:
        raise EqlinError(f"{type(decoder).__name__} has no final norm; use final_norm=False.")
    return found


def _check_site(site: Site | str, n_layers: int) -> None:
    if isinstance(site, Site):
        if not 0 <= site.layer < n_layers:
            raise EqlinError(f"Block {site.layer} does not exist: this model has blocks 0 to {n_layers - 1}.")
    elif site not in ("embedding", "output"):
        raise EqlinError(f"{site!r} is no place in the network; use 'embedding', 'output' or Site(layer, kind).")


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, list | tuple):
        return [t for item in tree for t in _tensors(item)]
    if isinstance(tree, dict):
        return [t for item in tree.values() for t in _tensors(item)]
    return []


def _first_row(rows: list[int]) -> Callable[..., Any]:
    """Run a module that the linear path never reads on one row of the batch; ``rows`` remembers how many there were."""

    def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
        x = args[0] if args else next(iter(kwargs.values()))
        rows.append(x.shape[0])
        return (x.detach()[:1],), {}

    return hook


def _set_aside(held: list[Tensor]) -> Callable[..., Any]:
    """Keep a leaf's true input and run its stock forward, whose result is replaced, on a single row."""

    def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
        held.append(args[0] if args else next(iter(kwargs.values())))
        return (held[-1].detach()[:1],), {}

    return hook


def _entering(v: Tensor, seen: dict[str, Tensor], replaying: bool) -> Callable[..., Any]:
    def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
        found = args[0] if args else kwargs["hidden_states"]
        seen["leaf"] = v if replaying else found.detach().requires_grad_()
        return ((seen["leaf"], *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": seen["leaf"]})

    return hook


def _leaving(seen: dict[str, Tensor]) -> Callable[..., Any]:
    def hook(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        seen["target"] = out[0] if isinstance(out, tuple) else out
        raise _Reached

    return hook
