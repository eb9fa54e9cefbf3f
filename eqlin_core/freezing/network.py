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
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eqlin_core.errors import EqlinError
from eqlin_core.freezing.attention import frozen_attention, mix
from eqlin_core.freezing.functions import FrozenFunctions
from eqlin_core.freezing.leaks import GraphNames, find_leaks, reachable
from eqlin_core.freezing.leaves import FrozenLeaves
from eqlin_core.freezing.norms import probe_norm
from eqlin_core.models import sites
from eqlin_core.models.experts import chooses_experts, eager_experts, prompt_by_prompt, token_by_token
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.offloading import brought_again
from eqlin_core.models.sites import Site, Source, Target

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
    ``standing``, of every module that ran, whether its output is on the linear path ("path"), only part of a held
    coefficient ("held"), or the same for every input ("constant");
    ``added``, for a target inside a block, whether each addend of its residual stream is "attn" or "mlp";
    ``causal``, whether no position reads a later one, so that a replay may begin at any position;
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
        self._weights: dict[str, list[Tensor]] = defaultdict(list)
        self._calls: dict[str, int] = defaultdict(int)
        self._modules = dict(lm.model.named_modules())
        self._names = {module: name for name, module in self._modules.items()}
        self._on_path: list[str] = []
        self._watcher: Callable[[str, Any], None] | None = None
        self._mixing: Callable[[Tensor, Tensor, Tensor], None] | None = None
        self._off_path: set[str] = set()
        self._experts: set[str] = set()
        self._functions = FrozenFunctions(gated_path, rules, self._note)
        self._leaves = FrozenLeaves(self._functions, rules, self._note)
        self.paused = self._functions.paused
        self._record(embeddings)

    # ---- the two kinds of pass --------------------------------------------------------------------------------------

    def _record(self, embeddings: Tensor) -> None:
        self._graph = GraphNames()
        self._produced: dict[str, list[Any]] = defaultdict(list)
        self._leaf_names: set[str] = set()
        with torch.enable_grad(), brought_again(self.lm.model, self.paused):
            values, self.leaf = self._run(embeddings[None])
            self.inputs, self.values = self.leaf.detach()[0], values[0]
        nodes = reachable(self.values)
        self.leaks = find_leaks(nodes, self._graph, self.inputs.dtype)
        # A leaf whose output the linear path never reads (queries, keys, gates) is not worth replaying in full.
        self._on_path = [n for n, made in self._produced.items() if nodes.intersection(made)]
        self.standing = {n: "held" if any(made) else "constant" for n, made in self._produced.items()}
        self.standing |= dict.fromkeys(self._on_path, "path")
        self._off_path = {n for n in self._leaf_names - set(self._on_path) if None not in self._produced[n]}
        for name in self._off_path:
            self._leaves.forget(name)
        for name in self._off_path | self._leaves.names:
            self._functions.forget(name)
        # Functions are counted by the innermost module, so the modules inside one that has frozen functions count too.
        scopes = self._functions.scopes
        self._scoped = {n for n in self._names.values() if n in scopes or n.rpartition(".")[0] in scopes}
        # Where rows are gathered by choice, as experts do, positions cannot be left out.
        ahead = any(bool(w.triu(1).any()) for kept in self._weights.values() for w in kept)
        self.causal = not (ahead or self._experts or self._functions.chooses)
        del self._graph, self._produced, self._leaf_names
        self.replaying = True

    @torch.no_grad()
    def replay(self, v: Float[Tensor, "batch tokens d"], first: int = 0) -> Float[Tensor, "batch tokens d_out"]:
        """The frozen network's affine value at the target for other source values ``v``, every coefficient held.

        With ``first``, ``v`` and the result begin at that position: what earlier ones would add is left out, biases
        included. Only where ``causal`` is true.
        """
        with self._from_position(first):
            return self._run(v)[0]

    def traced(self, v: Float[Tensor, "batch tokens d"], first: int = 0) -> Float[Tensor, "batch tokens d_out"]:
        """The same with its autograd graph, where ``v`` requires gradients: a linear function at any ``v``."""
        with self._from_position(first), torch.enable_grad(), brought_again(self.lm.model, self.paused):
            return self._run(v)[0]

    @contextmanager
    def _from_position(self, first: int) -> Iterator[None]:
        self._functions.tokens, self._functions.first = self.n_tokens, first
        try:
            yield
        finally:
            self._functions.first = 0

    def _run(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """(target [batch, T, d], leaf at the source) of one pass under hooks."""
        self._calls.clear()
        self._leaves.start()
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
            add = partial(self._add, hooks)
            for module, name in self._names.items():
                (self._hook_replay if self.replaying else self._hook_record)(module, name, add)
            if self._watcher is not None:
                for name in self._on_path:
                    add(self._modules[name].register_forward_hook, partial(_watch, self._watcher, name))
            if isinstance(self.source, Site):
                block = self.layers[self.source.layer]
                add(block.register_forward_pre_hook, partial(self._entering, v, seen))
            if isinstance(self.target, Site):
                block = self.layers[self.target.layer]
                if self.target.kind != "layer":
                    add(block.register_forward_pre_hook, partial(self._watch_residual_stream, stack))
                add(block.register_forward_hook, partial(self._reached, seen))
            yield

    def _add(self, hooks: ExitStack, register: Callable[..., Any], hook: Callable[..., Any]) -> None:
        """Register a hook until ``hooks`` closes; what it computes is no part of the network."""
        hooks.callback(register(partial(self._unseen, hook), with_kwargs=True).remove)

    def _unseen(self, hook: Callable[..., Any], *call: Any) -> Any:
        with self.paused():
            return hook(*call)

    @contextmanager
    def watching(self, watch: Callable[[str, Any], None]) -> Iterator[None]:
        """Within the context every replay calls ``watch(module, output)`` for the modules on the linear path."""
        self._watcher = watch
        try:
            yield
        finally:
            self._watcher = None

    @contextmanager
    def watching_attention(self, watch: Callable[[Tensor, Tensor, Tensor], None]) -> Iterator[None]:
        """Within the context every pass calls ``watch(weights, value, mixed value)`` at each attention."""
        self._mixing = watch
        try:
            yield
        finally:
            self._mixing = None

    def _hook_record(self, module: nn.Module, name: str, add: Callable[..., None]) -> None:
        add(module.register_forward_pre_hook, partial(self._enter, name))
        if not any(module.children()) and not isinstance(module, _PASSIVE):
            add(module.register_forward_hook, lambda m, a, k, out: self._leaves.record(name, module, a, k, out))
        add(module.register_forward_hook, partial(self._leave, name))

    def _enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        tensors = _tensors((args, kwargs))
        self._graph.enter(name, tensors)
        self._functions.enter(name)
        if name and chooses_experts(tensors, self.n_tokens) and any(True for _ in module.parameters()):
            self._experts.add(name)

    def _leave(self, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        self._functions.leave()
        self._graph.leave(_tensors(out))
        value = out[0] if isinstance(out, tuple) and out else out
        if isinstance(value, Tensor):
            self._produced[name].append(value.grad_fn)
            if value is out and not any(module.children()):
                self._leaf_names.add(name)
            if module in self._blocks and value.grad_fn is not None:
                self.block_nodes.append(value.grad_fn)

    def _hook_replay(self, module: nn.Module, name: str, add: Callable[..., None]) -> None:
        rows: list[Tensor] = []
        if name in self._scoped:
            add(module.register_forward_pre_hook, lambda m, a, k: self._functions.enter(name))
            add(module.register_forward_hook, lambda m, a, k, out: self._functions.leave())
        if name in self._experts:
            add(module.register_forward_pre_hook, lambda m, a, k: self._enter_experts(a, k))
            add(module.register_forward_hook, lambda m, a, k, out: self._leave_experts(out))
        elif name in self._off_path:
            # A projection to queries, keys or a gate reads its weights for nothing, unless choices depend on it.
            idle = type(module) is nn.Linear and not self._functions.chooses
            add(module.register_forward_pre_hook, partial(_rows, rows, 0 if idle else 1))
            add(module.register_forward_hook, lambda m, a, k, out: _for_all(out, len(rows.pop())))
        elif name in self._leaves:
            add(module.register_forward_pre_hook, partial(_rows, rows, 1))
            add(module.register_forward_hook, lambda m, a, k, out: self._leaves.replay(name, rows.pop()))

    def _enter_experts(self, args: Any, kwargs: Any) -> Any:
        self._functions.token_by_token = True
        return token_by_token(args, self.n_tokens), token_by_token(kwargs, self.n_tokens)

    def _leave_experts(self, out: Any) -> Any:
        self._functions.token_by_token = False
        return prompt_by_prompt(out, self.n_tokens)

    # ---- source and target inside the network ------------------------------------------------------------------------

    def _entering(self, v: Tensor, seen: dict[str, Tensor], module: nn.Module, args: Any, kwargs: Any) -> Any:
        found = sites.block_input(args, kwargs)
        seen["leaf"] = v if self.replaying else found.detach().requires_grad_()
        return sites.replace_block_input(args, kwargs, seen["leaf"])

    def _watch_residual_stream(self, stack: ExitStack, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._stream = sites.ResidualStream(sites.block_input(args, kwargs))
        stack.enter_context(sites.Additions(self._stream))

    def _reached(self, seen: dict[str, Tensor], module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        assert isinstance(self.target, Site)
        seen["target"] = sites.block_output(out)
        if self.target.kind != "layer":
            stream = self._stream
            del self._stream
            if not self.replaying:
                self.added = self._kinds(stream, seen["target"])
            seen["target"] = sites.sum_of(stream, self.added, self.target.kind).view_as(seen["target"])
        raise _Reached

    def _kinds(self, stream: sites.ResidualStream, out: Tensor) -> list[str]:
        """Of each addend, whether an attention module stands behind it (before the stream that was read from)."""
        assert isinstance(self.target, Site)
        block = self._names[self.layers[self.target.layer]]
        attention = [name for name in self._weights if name.startswith(block + ".")]
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

    def _through_final_norm(self, target: Tensor) -> Tensor:
        """The final norm applied at an intermediate place, its denominator held at that place's own value."""
        if not self.replaying:
            module = sites.find_final_norm(self.decoder, self.layers)
            rule = probe_norm(module, module, target.detach())
            if rule is None:
                raise EqlinError(f"{self._names[module]} is not a norm that can be frozen; use final_norm=False.")
            self._final = rule, rule.coefficient(target)
        rule, coefficient = self._final
        return rule.linear(target, self._functions.fit(coefficient, target))

    # ---- coefficients ------------------------------------------------------------------------------------------------

    def _note(self, name: str, rule: str) -> None:
        known = self.rules[name].rule.split("; ") if name in self.rules else []
        self.rules[name] = Frozen(name, type(self._modules[name]).__name__, "; ".join([*known, *({rule} - set(known))]))

    def mixed(self, module: nn.Module, compute: Callable[[], Tensor], value: Tensor) -> Tensor:
        """``value`` mixed by the attention weights of one module."""
        weights = self.weights(module, compute)
        mixed = mix(weights, value)
        if self._mixing is not None:
            self._mixing(weights, value, mixed)
        return mixed

    def weights(self, module: nn.Module, compute: Callable[[], Tensor]) -> Tensor:
        """Attention weights of one module: recorded in the first pass, looked up in every later one."""
        name = self._names[module]
        if self.replaying:
            self._calls[name] += 1
            first = self._functions.first
            return self._weights[name][self._calls[name] - 1][..., first:, first:]
        weights = compute().detach()
        self._weights[name].append(weights)
        self._note(name, "attention weights held, values linear")
        return weights


class _Reached(Exception):
    pass


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [t for item in tree for t in _tensors(item)] if isinstance(tree, list | tuple) else []


def _rows(inputs: list[Tensor], kept: int, module: nn.Module, args: Any, kwargs: Any) -> Any:
    """Run a module whose result is replaced or never read on few rows of the batch; ``inputs`` keeps its true input."""
    inputs.append(args[0] if args else next(iter(kwargs.values())))
    return (inputs[-1].detach()[:kept],), {}


def _for_all(out: Tensor, rows: int) -> Tensor:
    """An output that is never read, in the shape of the batch that it belongs to."""
    return (out if len(out) else out.new_zeros(1).expand(1, *out.shape[1:])).expand(rows, *out.shape[1:])


def _watch(watch: Callable[[str, Any], None], name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
    watch(name, out)
