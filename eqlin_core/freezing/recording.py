"""What a recording pass shows of a network: which module made which tensor, and which of them the path reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from eqlin_core.freezing.leaks import GraphNames, find_leaks, reachable
from eqlin_core.models.experts import chooses_experts, chooses_inside


class Recording:
    """Watches every module of a pass whose autograd graph ends in the target's values; ``close`` looks at that graph.

    ``graph`` names the graph's nodes by module. Afterwards: ``leaks``, what the graph holds that is not linear;
    ``standing``, of every module that ran, whether its output is on the linear path ("path"), only part of a held
    coefficient ("held"), or the same for every input ("constant"); ``on_path``, the first of these in the order of the
    pass; ``off_path``, the leaf modules whose output the path never reads; ``experts``, the modules that choose rows;
    ``gathers``, whether a module gathers rows of whole prompts, so that those of a batch would not come in its order.
    """

    def __init__(self, n_tokens: int) -> None:
        self.graph = GraphNames()
        self.leaks: list[str] = []
        self.standing: dict[str, str] = {}
        self.on_path: list[str] = []
        self.off_path: set[str] = set()
        self.experts: set[str] = set()
        self.gathers = False
        self._n_tokens = n_tokens
        self._produced: dict[str, list[Any]] = defaultdict(list)
        self._leaf_names: set[str] = set()

    def enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        """The module ``name`` is called with these."""
        given = _tensors((args, kwargs))
        self.graph.enter(name, given)
        if len(given) < 2:  # rows and a choice among them
            return
        if name and chooses_experts(given, self._n_tokens) and any(True for _ in module.parameters()):
            self.experts.add(name)
        self.gathers = self.gathers or chooses_inside(given, self._n_tokens)

    def leave(self, name: str, module: nn.Module, out: Any) -> Any:
        """The module ``name`` returned ``out``; the node behind its first tensor, None where it has none."""
        self.graph.leave(_tensors(out))
        value = out[0] if isinstance(out, tuple) and out else out
        if not isinstance(value, Tensor):
            return None
        self._produced[name].append(value.grad_fn)
        if value is out and not any(module.children()):
            self._leaf_names.add(name)
        return value.grad_fn

    def close(self, values: Tensor, dtype: torch.dtype) -> None:
        """The pass has ended in ``values``; its source was in ``dtype``."""
        nodes = reachable(values)
        self.leaks = find_leaks(nodes, self.graph, dtype)
        # A leaf whose output the linear path never reads (queries, keys, gates) is not worth replaying in full.
        self.on_path = [name for name, made in self._produced.items() if nodes.intersection(made)]
        self.standing = {name: "held" if any(made) else "constant" for name, made in self._produced.items()}
        self.standing |= dict.fromkeys(self.on_path, "path")
        leaves = self._leaf_names - set(self.on_path)
        self.off_path = {name for name in leaves if None not in self._produced[name]}

    def kinds(self, addends: Collection[Tensor], stop: Collection[Any], attention: Collection[str]) -> list[str]:
        """Of each addend "attn" or "mlp": whether one of these attention modules stands behind it, before ``stop``."""
        kinds = []
        for addend in addends:
            owners = {self.graph.name(node) for node in reachable(addend, stop)}
            inside = any(owner == a or owner.startswith(a + ".") for owner in owners for a in attention)
            kinds.append("attn" if inside else "mlp")
        return kinds


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [t for item in tree for t in _tensors(item)] if isinstance(tree, list | tuple) else []
