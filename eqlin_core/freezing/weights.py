"""The attention weights of one frozen network: kept in the recording pass, looked up in every later one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from eqlin_core.freezing.attention import Masks
from eqlin_core.freezing.functions import FrozenFunctions
from eqlin_core.freezing.live_weights import LiveWeights, Scores
from eqlin_core.freezing.mixing import mix


class FrozenWeights:
    """Coefficients of the attention modules, by module and call; the owner that ``frozen_attention`` asks.

    ``names`` says what each module is called, ``keep(module, rule)`` is told every rule that was recorded.
    ``functions`` knows from which position on a replay runs. ``share`` of attention goes by the weights' own path.
    The tokens of so many prompts ``together`` stand in turn.
    """

    def __init__(
        self,
        names: Mapping[nn.Module, str],
        functions: FrozenFunctions,
        keep: Callable[[str, str], None],
        share: float = 0.0,
        together: int = 1,
    ) -> None:
        self.replaying = False
        self.masks = Masks(together)
        self.paused = functions.paused
        self._names, self._functions, self._keep = names, functions, keep
        self._share = share
        self._reads_later: bool | None = None
        self._kept: dict[str, list[Tensor]] = defaultdict(list)
        self._live: dict[str, list[LiveWeights]] = defaultdict(list)
        self._calls: dict[str, int] = defaultdict(int)
        self._watcher: Callable[[Tensor, Tensor, Tensor], None] | None = None

    @property
    def modules(self) -> Collection[str]:
        """The attention modules, by name."""
        return self._kept.keys()

    @property
    def ordered(self) -> bool:
        """Whether no position reads a later one; of keys that are no positions, but sums of them, it is not known."""
        compressed = any(weights.shape[-1] != weights.shape[-2] for kept in self._kept.values() for weights in kept)
        return not (compressed or self.reads_later)

    @property
    def reads_later(self) -> bool:
        """Whether any position reads a later one; of keys that are no positions, but sums of them, it is not said."""
        if self._reads_later is None:
            square = [w for kept in self._kept.values() for w in kept if w.shape[-1] == w.shape[-2]]
            found = [w.triu(1).any() for w in square]  # asked of a device all at once
            self._reads_later = bool(found) and any(torch.stack([f.to(found[0].device) for f in found]).tolist())
        return self._reads_later

    @property
    def separate(self) -> bool:
        """Whether no prompt reads another's tokens."""
        return not self.masks.together > 1 or all(self._is_separate(w) for kept in self._kept.values() for w in kept)

    def _is_separate(self, weights: Tensor) -> bool:
        prompts = self.masks.together
        if weights.shape[-1] != weights.shape[-2] or weights.shape[-1] % prompts:
            return False
        each = weights.unflatten(-1, (-1, prompts)).unflatten(-3, (-1, prompts))
        return bool((each.sum((-4, -2)) * ~torch.eye(prompts, dtype=torch.bool, device=weights.device) == 0).all())

    def start(self, *, recording: bool) -> None:
        """A new pass begins."""
        self.replaying = not recording
        if recording:
            self._reads_later = None
        self._calls.clear()

    def mixed(self, module: nn.Module, scores: Scores, value: Tensor) -> Tensor:
        """``value`` mixed by the attention weights of one module."""
        name, weights = self._names[module], self.of_call(module, scores)
        mixed = mix(weights, value)
        if self._share:
            if not self.replaying:
                self._live[name].append(LiveWeights(weights, scores, value))
            live = self._live[name][self._calls[name] - 1]
            mixed = (1 - self._share) * mixed + self._share * live.mixed(scores.query, scores.key)
        if self._watcher is not None:
            self._watcher(weights, value, mixed)
        return mixed

    @contextmanager
    def watching(self, watch: Callable[[Tensor, Tensor, Tensor], None]) -> Iterator[None]:
        """Within the context every pass calls ``watch(weights, value, mixed value)`` at each attention."""
        self._watcher = watch
        try:
            yield
        finally:
            self._watcher = None

    def of_call(self, module: nn.Module, scores: Scores) -> Tensor:
        """The weights of this call of a module: computed and kept while recording, looked up while replaying."""
        name = self._names[module]
        self._calls[name] += 1
        if self.replaying:
            first = self._functions.first
            return self._kept[name][self._calls[name] - 1][..., first:, first:]
        weights = scores.weights().detach()
        self._kept[name].append(weights)
        rule = "attention weights held, values linear"
        if self._share:
            rule += f" ({1 - self._share:.3g} of it), values held, weights by their derivative ({self._share:.3g})"
        self._keep(name, rule)
        return weights
