"""Record and replay: a transformers decoder whose softmax weights, norm denominators and gates are held fixed.

One forward pass of the untouched model under temporary hooks *records* every coefficient; its autograd graph is then a
linear function, audited node by node. Later passes *replay* the coefficients on other inputs. No modelling file is
changed: norms and activation modules answer through forward hooks, attention through the public attention interface,
everything between modules through a function mode; all of it is gone when the pass ends (Golden 2025, section 3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eqlin_core import sites
from eqlin_core.activations import probe_activation
from eqlin_core.attention import frozen_attention
from eqlin_core.errors import EqlinError
from eqlin_core.experts import chooses_experts, eager_experts, prompt_by_prompt, token_by_token
from eqlin_core.functions import FrozenFunctions
from eqlin_core.leaks import GraphNames, find_leaks, reachable
from eqlin_core.models import LanguageModel
from eqlin_core.norms import NormRule, coefficient_dtype, probe_norm
from eqlin_core.sites import Site, Source, Target

# What is frozen; leaving one out is how tests see that the audit would notice.
RULES = frozenset({"attention", "norms", "gates", "router"})
# Leaf modules that are linear (or not on the path at all) whatever they are given.
_PASSIVE = (nn.Linear, nn.Embedding, nn.Dropout, nn.Identity)


@dataclass(frozen=True)
class Frozen:
    """One module's frozen rule, as reports show it."""

    module: str
    class_name: str
    rule: str


class FrozenNetwork:
    """A decoder frozen at one prompt, from ``source`` to ``target``.

    Attributes: ``inputs`` [T, d] at the source; ``leaf`` [1, T, d] and ``values`` [T, d] at the target, joined by the
    recorded autograd graph; ``leaks``, what that graph holds that is not linear; ``rules``, how modules were frozen;
    ``added``, for a target inside a block, whether each addend of its residual stream is "attn" or "mlp";
    ``block_nodes``, the graph's node behind every block's output, which a reverse pass meets one after the other.
    """

    def __init__(
        self,
        lm: LanguageModel,
        embeddings: Float[Tensor, "tokens d"],
        *,
        source: Source = "embedding",
        target: Target = "output",
        final_norm: bool = True,
        gated_path: str = "up",
        rules: Collection[str] = RULES,
    ) -> None:
        self.lm, self.source, self.target = lm, source, target
        self.final_norm, self.gated_path = final_norm, gated_path
        self.replaying = False
        self.decoder = lm.model.get_decoder()
        self.layers = sites.find_layers(self.decoder, lm.n_layers)
        sites.check_sites(source, target, len(self.layers))
        self._blocks = set(self.layers)
        self.rules: dict[str, Frozen] = {}
        self.added: list[str] = []
        self.block_nodes: list[Any] = []
        self.n_tokens = len(embeddings)
        self._applied = rules
        self._kept: dict[str, list[Any]] = defaultdict(list)
        self._calls: dict[str, int] = defaultdict(int)
        self._modules = dict(lm.model.named_modules())
        self._names = {module: name for name, module in self._modules.items()}
        self._probed: dict[Any, Any] = {}
        self._on_path: list[str] = []
        self._watcher: Callable[[str, Any], None] | None = None
        self._off_path: set[str] = set()
        self._experts: set[str] = set()
        self._functions = FrozenFunctions(gated_path, rules, self._note)
        self.paused = self._functions.paused
        self._record(embeddings)

    # ---- the two kinds of pass --------------------------------------------------------------------------------------

    def _record(self, embeddings: Tensor) -> None:
        self._graph = GraphNames()
        self._produced: dict[str, list[Any]] = defaultdict(list)
        with torch.enable_grad():
            values, self.leaf = self._run(embeddings[None])
            self.inputs, self.values = self.leaf.detach()[0], values[0]
        nodes = reachable(self.values)
        self.leaks = find_leaks(nodes, self._graph, self.inputs.dtype)
        # A leaf whose output the linear path never reads (queries, keys, gates) is not worth replaying in full.
        self._on_path = [n for n, made in self._produced.items() if nodes.intersection(made)]
        leaves = {n for n, made in self._produced.items() if None not in made and not any(self._modules[n].children())}
        self._off_path = leaves - set(self._on_path)
        for name in self._off_path:
            self._kept.pop(name, None)
        for name in self._off_path | set(self._kept):
            self._functions.forget(name)
        # Functions are counted by the innermost module, so the modules inside one that has frozen functions count too.
        scopes = self._functions.scopes
        self._scoped = {n for n in self._names.values() if n in scopes or n.rpartition(".")[0] in scopes}
        del self._graph, self._produced
        self.replaying = True

    @torch.no_grad()
    def replay(self, v: Float[Tensor, "batch tokens d"]) -> Float[Tensor, "batch tokens d_out"]:
        """The frozen network's affine value at the target for other source values ``v``, every coefficient held."""
        return self._run(v)[0]

    def _run(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """(target [batch, T, d], leaf at the source) of one pass under hooks."""
        self._calls.clear()
        self._functions.start(recording=not self.replaying)
        seen: dict[str, Tensor] = {}
        inner = isinstance(self.source, Site)
        at_embedding = v.detach()[:1] if inner and self.replaying else v.detach()
        if not inner:
            at_embedding = seen["leaf"] = v if self.replaying else at_embedding.requires_grad_()
        with ExitStack() as stack:
            stack.enter_context(eager_experts(self.lm.model))
            stack.enter_context(frozen_attention(self.lm.model, self, held="attention" in self._applied))
            stack.enter_context(self._hooks(v, seen, stack))
            stack.enter_context(self._functions)
            try:
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
    def _hooks(self, v: Tensor, seen: dict[str, Tensor], stack: ExitStack) -> Iterator[None]:
        with ExitStack() as hooks:

            def add(register: Callable[..., Any], hook: Callable[..., Any]) -> None:
                def unseen(*call: Any) -> Any:
                    with self.paused():
                        return hook(*call)

                hooks.callback(register(unseen, with_kwargs=True).remove)

            for module, name in self._names.items():
                (self._hook_replay if self.replaying else self._hook_record)(module, name, add)
            if self._watcher is not None:
                for name in self._on_path:
                    add(self._modules[name].register_forward_hook, self._watcher_of(name))
            if isinstance(self.source, Site):
                add(self.layers[self.source.layer].register_forward_pre_hook, _entering(v, seen, self.replaying))
            if isinstance(self.target, Site):
                block = self.layers[self.target.layer]
                if self.target.kind != "layer":
                    add(block.register_forward_pre_hook, lambda m, a, k: self._watch_residual_stream(a, k, stack))
                add(block.register_forward_hook, lambda m, a, k, out: self._reached(seen, sites.block_output(out)))
            yield

    @contextmanager
    def watching(self, watch: Callable[[str, Any], None]) -> Iterator[None]:
        """Within the context every replay calls ``watch(module, output)`` for the modules on the linear path."""
        self._watcher = watch
        try:
            yield
        finally:
            self._watcher = None

    def _watcher_of(self, name: str) -> Callable[..., None]:
        return lambda m, a, k, out: self._watcher(name, out) if self._watcher is not None else None

    def _hook_record(self, module: nn.Module, name: str, add: Callable[..., None]) -> None:
        leaf, in_list = not any(module.children()), module in self._blocks

        def before(m: nn.Module, args: Any, kwargs: Any) -> None:
            tensors = _tensors((args, kwargs))
            self._graph.enter(name, tensors)
            self._functions.enter(name)
            if not leaf or hasattr(module, "weight") or any(True for _ in module.parameters(recurse=False)):
                self._experts |= {name} if name and chooses_experts(tensors, self.n_tokens) else set()

        def after(m: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            self._functions.leave()
            self._graph.leave(_tensors(out))
            value = out[0] if isinstance(out, tuple) and out else out
            if isinstance(value, Tensor):
                self._produced[name].append(value.grad_fn)
                if in_list and value.grad_fn is not None:
                    self.block_nodes.append(value.grad_fn)

        add(module.register_forward_pre_hook, before)
        if leaf and not isinstance(module, _PASSIVE):
            add(module.register_forward_hook, lambda m, a, k, out: self._record_leaf(module, name, a, k, out))
        add(module.register_forward_hook, after)

    def _hook_replay(self, module: nn.Module, name: str, add: Callable[..., None]) -> None:
        held: list[Any] = []
        if name in self._scoped:
            add(module.register_forward_pre_hook, lambda m, a, k: self._functions.enter(name))
            add(module.register_forward_hook, lambda m, a, k, out: self._functions.leave())
        if name in self._experts:
            add(module.register_forward_pre_hook, lambda m, a, k: self._enter_experts(a, k))
            add(module.register_forward_hook, lambda m, a, k, out: self._leave_experts(out))
        elif name in self._off_path:
            add(module.register_forward_pre_hook, _first_row(held))
            add(module.register_forward_hook, lambda m, a, k, out: out.expand(len(held.pop()), *out.shape[1:]))
        elif name in self._kept and not name.endswith(_WEIGHTS):
            add(module.register_forward_pre_hook, _first_row(held))
            add(module.register_forward_hook, lambda m, a, k, out: self._replay_leaf(name, held.pop()))

    def _record_leaf(self, module: nn.Module, name: str, args: Any, kwargs: Any, out: Any) -> Tensor | None:
        """Freeze a leaf module that turns out to be a norm or an activation; leave any other to the audit."""
        x = args[0] if args else next(iter(kwargs.values()), None)
        if not (isinstance(x, Tensor) and isinstance(out, Tensor) and x.is_floating_point()):
            return None
        if x.shape != out.shape or len(args) + len(kwargs) != 1:
            return None
        call = _bare_call(module)
        norm = self._probe(name, probe_norm, module, call, x.detach()) if "norms" in self._applied else None
        if norm is not None:
            coefficient = norm.coefficient(x)
            if x.requires_grad:  # before the source it only has to be as precise as after it
                self._kept[name].append((norm, coefficient))
                self._note(name, norm.description)
            return norm.linear(x, coefficient).to(out.dtype)
        if not x.requires_grad or "gates" not in self._applied or any(True for _ in module.parameters(recurse=False)):
            return None
        activation = self._probe(name, probe_activation, call, x.device)
        if activation is None or activation.factor is None:
            return None
        factor = activation.factor(x.detach().to(coefficient_dtype(x.dtype)))
        self._kept[name].append((None, factor))
        self._note(name, f"{activation.name} as s(x) x")
        scaled = (factor * x.to(factor.dtype)).to(out.dtype)
        self._functions.roles.mark_gate(scaled)
        return scaled

    def _probe(self, name: str, probe: Callable[..., Any], *args: Any) -> Any:
        """What a probe says about a module, asked once for all its calls (one for each expert, say)."""
        if (name, probe) not in self._probed:
            self._probed[name, probe] = probe(*args)
        return self._probed[name, probe]

    def _replay_leaf(self, name: str, x: Tensor) -> Tensor:
        rule, coefficient = self._next(name)
        coefficient = self._functions.fit(coefficient, x)
        if isinstance(rule, NormRule):
            return rule.linear(x, coefficient)
        return (coefficient * x.to(coefficient.dtype)).to(x.dtype)

    def _enter_experts(self, args: Any, kwargs: Any) -> Any:
        self._functions.token_by_token = True
        return token_by_token(args, self.n_tokens), token_by_token(kwargs, self.n_tokens)

    def _leave_experts(self, out: Any) -> Any:
        self._functions.token_by_token = False
        return prompt_by_prompt(out, self.n_tokens)

    # ---- what attention and the MLP add to the residual stream -------------------------------------------------------

    def _watch_residual_stream(self, args: Any, kwargs: Any, stack: ExitStack) -> None:
        self._stream = sites.ResidualStream(sites.block_input(args, kwargs))
        stack.enter_context(sites.Additions(self._stream))

    def _reached(self, seen: dict[str, Tensor], out: Tensor) -> None:
        assert isinstance(self.target, Site)
        if self.target.kind != "layer":
            stream = self._stream
            del self._stream
            if not self.replaying:
                self.added = self._kinds(stream, out)
            out = sites.sum_of(stream, self.added, self.target.kind).view_as(out)
        seen["target"] = out
        raise _Reached

    def _kinds(self, stream: sites.ResidualStream, out: Tensor) -> list[str]:
        """Of each addend, whether an attention module stands behind it (before the stream that was read from)."""
        assert isinstance(self.target, Site)
        block = self._names[self.layers[self.target.layer]]
        attention = [n.removesuffix(_WEIGHTS) for n in self._kept if n.endswith(_WEIGHTS) and n.startswith(block + ".")]
        stop = {t.grad_fn for t in stream.stream}
        kinds = []
        for addend in stream.added:
            owners = {self._graph.name(node) for node in reachable(addend, stop)}
            inside = any(owner == a or owner.startswith(a + ".") for owner in owners for a in attention)
            kinds.append("attn" if inside else "mlp")
        if not stream.ends_in(out) or set(kinds) != {"attn", "mlp"}:
            raise EqlinError(
                f"{block} does not add its attention and its MLP to a residual stream, so they have no maps of their "
                "own; choose the kind 'layer'."
            )
        return kinds

    # ---- coefficients -----------------------------------------------------------------------------------------------

    def _note(self, name: str, rule: str) -> None:
        known = self.rules[name].rule.split("; ") if name in self.rules else []
        self.rules[name] = Frozen(name, type(self._modules[name]).__name__, "; ".join([*known, *({rule} - set(known))]))

    def _next(self, name: str) -> Any:
        position = self._calls[name]
        self._calls[name] += 1
        return self._kept[name][position]

    def weights(self, module: nn.Module, compute: Callable[[], Tensor]) -> Tensor:
        """Attention weights of one module: recorded in the first pass, looked up in every later one."""
        name = self._names[module]
        if self.replaying:
            return self._next(name + _WEIGHTS)
        weights = compute().detach()
        self._kept[name + _WEIGHTS].append(weights)
        self._note(name, "attention weights held, values linear")
        return weights

    def _through_final_norm(self, target: Tensor) -> Tensor:
        """The final norm applied at an intermediate place, its denominator held at that place's own value."""
        if not self.replaying:
            module = sites.find_final_norm(self.decoder, self.layers)
            rule = probe_norm(module, module, target.detach())
            if rule is None:
                raise EqlinError(f"{self._names[module]} is not a norm that can be frozen; use final_norm=False.")
            self._final = rule, rule.coefficient(target)
        rule, coefficient = self._final
        return rule.linear(target, coefficient)


_WEIGHTS = " weights"


class _Reached(Exception):
    pass


def _bare_call(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """``module.forward`` without this engine's hooks; a device hook of accelerate stays in place."""

    def call(x: Tensor) -> Tensor:
        with torch.no_grad():
            return module.forward(x)

    return call


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [t for item in tree for t in _tensors(item)] if isinstance(tree, list | tuple) else []


def _first_row(rows: list[Tensor]) -> Callable[..., Any]:
    """Run a module whose result is replaced or never read on one row of the batch; ``rows`` keeps its true input."""

    def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
        rows.append(args[0] if args else next(iter(kwargs.values())))
        return (rows[-1].detach()[:1],), {}

    return hook


def _entering(v: Tensor, seen: dict[str, Tensor], replaying: bool) -> Callable[..., Any]:
    def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
        found = sites.block_input(args, kwargs)
        seen["leaf"] = v if replaying else found.detach().requires_grad_()
        return sites.replace_block_input(args, kwargs, seen["leaf"])

    return hook
