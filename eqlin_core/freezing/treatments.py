"""Every module class of a frozen decoder and how it was frozen, counted: the table behind the word "exact"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import nn

from eqlin_core.freezing.network import FrozenNetwork
from eqlin_core.runs.treatments import LEAKS, Treatment

HELD = "feeds held coefficients only"
_LINEAR_PARTS = "sum of its parts"


def treatments(network: FrozenNetwork, leaks: Iterable[str] = ()) -> list[Treatment]:
    """How every module of the decoder stands in the frozen network, by class, in the order of the model.

    ``leaks`` are lines as ``Exactness.leaks`` has them. Modules that did not run (lists of blocks, dropout that is
    switched off by its config, the head) are left out; the input embeddings are where the map starts.
    """
    leaking: dict[str, list[str]] = {}
    for leak in leaks:
        name, _, reason = leak.partition(": ")
        leaking.setdefault(name, []).append(reason)
    names = {module: name for name, module in network.lm.model.named_modules()}
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    for module in network.decoder.modules():
        name = names[module]
        how = _how(network, module, name, leaking.get(name, []))
        if how:
            kind = type(module).__name__, how
            counts[kind] += 1
            first.setdefault(kind, name)
    return [Treatment(class_name, n, how, first[class_name, how]) for (class_name, how), n in counts.items()]


def _how(network: FrozenNetwork, module: nn.Module, name: str, reasons: list[str]) -> str:
    if reasons:
        return f"{LEAKS}: {'; '.join(sorted(set(reasons)))}"
    if module is network.lm.model.get_input_embeddings():
        return "the map starts at its output"
    parts = any(True for _ in module.children())
    rule = network.rules[name].rule if name in network.rules else ""
    unruled = _LINEAR_PARTS if parts else _as_is(module)
    said = {
        "path": rule or unruled,
        "held": f"{HELD} ({rule})" if rule else HELD,
        "constant": "constant",
    }
    standing = "path" if module is network.decoder else network.standing.get(name)
    return said.get(standing or "", rule)  # a rule alone: it ran, but what it returned is no tensor


def _as_is(module: nn.Module) -> str:
    if isinstance(module, nn.Dropout | nn.Identity):
        return "identity"
    return "linear as is" if getattr(module, "bias", None) is None else "linear as is, its bias adds to b"
