"""A device that is only pretended: its tensors lie on the CPU, say that they lie elsewhere and obey the rules there.

Every operation of torch passes through ``Pretended``. It refuses what a GPU refuses (operands of two places,
a generator or an index of another one, NumPy, on Apple's float64) and counts what costs there: launches, waits, copies.
Numbers are the CPU's own, so that a result can be compared to the last digits.

Autograd keeps a thread for the device until the process ends, and aborts it then: use a process that is left by
``os._exit``, as ``python -m tests.devices`` is.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from eqlin_core import dtypes

Kind = Literal["cuda", "mps"]
NAME = "pretended"  # torch has one name for a foreign device, and it is none of its own
CPU = torch.device("cpu")
aten = torch.ops.aten

_COPIES = {aten.copy_.default, aten._to_copy.default, aten._copy_from.default, aten.set_.source_Tensor}
_INDEXED = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
    aten._unsafe_index_put.default,
}
# What the host has to wait for, because its next step depends on a value or on how many there are.
_WAITS = {
    aten._local_scalar_dense.default,
    aten.bincount.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
    aten._unique2.default,
    aten.unique_dim.default,
}
# Missing on Apple's GPUs, or with a workspace there that a tall matrix does not fit into.
_DECOMPOSITIONS = {
    aten._linalg_eigh.default,
    aten._linalg_svd.default,
    aten.linalg_cholesky_ex.default,
    aten.linalg_lstsq.default,
    aten.linalg_qr.default,
}


# No view by their declaration, and yet no kernel is started.
_NO_KERNEL = {aten.detach.default, aten._unsafe_view.default, aten.empty.memory_format, aten.new_empty.default}
# What a process can set to fewer digits.
_PRODUCTS = {
    aten.addmm.default,
    aten.addmv.default,
    aten.baddbmm.default,
    aten.bmm.default,
    aten.convolution.default,
    aten.dot.default,
    aten.mm.default,
    aten.mv.default,
}


class Refused(RuntimeError):
    """What the device that is pretended would not do."""


class Held(torch.Tensor):
    """A tensor of the pretended device; ``elem`` is where its numbers really are."""

    elem: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, elem: torch.Tensor, device: torch.device) -> Held:
        made: Any = torch.Tensor._make_wrapper_subclass(
            cls,
            elem.shape,
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            layout=elem.layout,
            device=device,
        )
        made.elem = elem
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _current().run(func, args, kwargs or {})

    def tolist(self) -> Any:
        _current().note("wait", "tolist")
        return self.elem.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(f"A tensor of {self.device} has no NumPy array: copy it to main memory first.")
        return self.elem.numpy(force=True)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"Held({self.elem!r}, {self.device})"


class Pretended(TorchDispatchMode):
    """The device while it is entered; ``kind`` says whose rules hold.

    ``counts`` holds "launch", "wait", "upload", "download" and their bytes, and "loose product" for one whose float32
    numbers may be cut to TF32, each by the engine's line that asks for it.
    """

    now: Pretended | None = None

    def __init__(self, kind: Kind = "cuda") -> None:
        super().__init__()
        self.kind = kind
        self.counts: dict[str, Counter[str]] = {}

    def __enter__(self) -> Pretended:
        register()
        self._lifts = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        self._overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        if self.kind == "mps":
            dtypes.WITHOUT_FLOAT64.add(NAME)
        Pretended.now = self
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        Pretended.now = None
        dtypes.WITHOUT_FLOAT64.discard(NAME)
        torch._C._set_only_lift_cpu_tensors(self._lifts)
        torch.__future__.set_overwrite_module_params_on_conversion(self._overwrites)

    # ---- what tests ask ---------------------------------------------------------------------------------------------

    def held(self, tensor: torch.Tensor) -> Held:
        """The tensor on this device."""
        self._representable(tensor.dtype, "to")
        return Held(tensor.detach(), torch.device(NAME, 0))

    def take(self, modules: Iterable[torch.nn.Module]) -> None:
        """Put the weights of these modules, and of what is in them, on this device; shared ones stay shared."""
        known: dict[int, Any] = {}
        for module in {m: None for given in modules for m in given.modules()}:
            for table in (module._parameters, module._buffers):
                for name, tensor in table.items():
                    if tensor is None or isinstance(tensor, Held):
                        continue
                    if id(tensor) not in known:
                        made = self.held(tensor.data)
                        trained = isinstance(tensor, torch.nn.Parameter)
                        known[id(tensor)] = torch.nn.Parameter(made, tensor.requires_grad) if trained else made
                    table[name] = known[id(tensor)]

    def total(self, what: str) -> int:
        """How often it was counted."""
        return sum(self.counts.get(what, Counter()).values())

    def reset(self) -> None:
        """Count from nothing."""
        self.counts.clear()

    def report(self, most: int = 8) -> str:
        """What was counted, by the lines that ask for it most."""
        lines = []
        for what, by_line in sorted(self.counts.items()):
            lines.append(f"{what}: {sum(by_line.values())}")
            lines += [f"{count:>12}  {line}" for line, count in by_line.most_common(most)]
        return "\n".join(lines)

    # ---- one operation ----------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Do on the CPU what is asked of the device, or refuse it."""
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        here = any(isinstance(t, Held) for t in given)
        if not here and (asked is None or asked.type in ("cpu", "meta")):
            return func(*args, **kwargs)
        place = self._place(func, args, kwargs, given, asked)
        self._count(func, args, place)
        plain_args, plain = tree_map(lambda t: t.elem if isinstance(t, Held) else t, (args, kwargs))
        if asked is not None:
            plain["device"] = CPU
        if plain.get("pin_memory"):
            plain["pin_memory"] = False
        out = _on_the_cpu(func, plain_args, plain)
        if func is aten._to_copy.default and out.data_ptr() == plain_args[0].data_ptr():
            out = out.clone()
        if any(a.alias_info is not None and a.alias_info.is_write for a in func._schema.arguments):
            return self._written(func, args, kwargs)
        return tree_map(lambda t: self._as_here(t, place, func) if isinstance(t, torch.Tensor) else t, out)

    def _as_here(self, tensor: torch.Tensor, place: torch.device, func: Any) -> torch.Tensor:
        if place.type != NAME or isinstance(tensor, Held):
            return tensor
        self._representable(tensor.dtype, str(func))
        return Held(tensor, place)

    def _written(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """An operation that writes into its arguments returns these themselves."""
        written = {}
        for at, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[at] if at < len(args) else kwargs.get(argument.name)
                written[tuple(argument.alias_info.after_set)] = value
        for value in written.values():
            if isinstance(value, Held) and value.shape != value.elem.shape:
                with torch._C._DisableTorchDispatch():
                    func(value, *args[1:], **kwargs)
        found = [written.get(tuple(r.alias_info.after_set)) if r.alias_info else None for r in func._schema.returns]
        if any(value is None for value in found):
            raise NotImplementedError(f"{func}: {func._schema}")
        return found[0] if len(found) == 1 else tuple(found) or None

    # ---- what a device refuses --------------------------------------------------------------------------------------

    def _representable(self, dtype: torch.dtype, what: str) -> None:
        if self.kind == "mps" and dtype in (torch.float64, torch.complex128):
            raise TypeError(f"The device has no {dtype} [{what}].")

    def _place(
        self, func: Any, args: Any, kwargs: dict[str, Any], given: list[torch.Tensor], asked: torch.device | None
    ) -> torch.device:
        """Where the result lies."""
        if func in _DECOMPOSITIONS and self.kind == "mps" and isinstance(args[0], Held):
            raise NotImplementedError(f"The device has no {func}.")
        if func is aten.linalg_lstsq.default and "gels" not in (args[3:4] or [kwargs.get("driver") or "gels"]):
            raise Refused(f"The device's least squares have no other driver than gels [{func}].")
        if asked is not None:
            generator = kwargs.get("generator")
            if asked.type == NAME and generator is not None and generator.device.type == "cpu":
                raise Refused(f"The generator is the CPU's [{func}].")
            return torch.device(NAME, 0) if asked.type == NAME else asked
        if func in _COPIES:
            return args[0].device
        if func in _INDEXED:
            return self._indexed(func, args)
        # a number of the CPU's may stand beside a device's tensors
        places = {t.device for t in given if t.dim() or t.device != CPU}
        if len(places) > 1:
            raise Refused(f"All tensors have to lie on one device, not on {sorted(map(str, places))} [{func}].")
        return places.pop()

    def _indexed(self, func: Any, args: Any) -> torch.device:
        subject: torch.device = args[0].device
        for index in args[1]:
            if not isinstance(index, torch.Tensor):
                continue
            if index.device not in (subject, CPU):
                raise Refused(f"An index on {index.device} for a tensor on {subject} [{func}].")
            if index.device != subject:
                self.note("upload", func, index.numel() * index.element_size())
            if index.dtype in (torch.bool, torch.uint8):
                self.note("wait", func)
        if len(args) > 2 and args[2].device != subject and (args[2].dim() or args[2].device != CPU):
            raise Refused(f"Values on {args[2].device} for a tensor on {subject} [{func}].")
        return subject

    # ---- what it counts ---------------------------------------------------------------------------------------------

    def _count(self, func: Any, args: Any, place: torch.device) -> None:
        if not getattr(func, "is_view", False) and func not in _NO_KERNEL:
            self.note("launch", func)
        if func in _WAITS:
            self.note("wait", func)
        if func in _PRODUCTS and torch.backends.cuda.matmul.fp32_precision != "ieee":
            self.note("loose product", func)
        if func in (aten._to_copy.default, aten.copy_.default):
            source = args[0] if func is aten._to_copy.default else args[1]
            goal = place if func is aten._to_copy.default else args[0].device
            if source.device != goal:
                way = "upload" if source.device == CPU else "download"
                self.note(way, func, source.numel() * source.element_size())
                if way == "download":
                    self.note("wait", func)

    def note(self, what: str, func: Any, size: int = 0) -> None:
        """Count it, at the line of the engine that asks for it."""
        frame = sys._getframe()
        while frame is not None and "/eqlin_core/" not in frame.f_code.co_filename:
            frame = frame.f_back  # type: ignore[assignment]
        line = f"{frame.f_code.co_filename.rsplit('/eqlin_core/', 1)[-1]}:{frame.f_lineno}" if frame else "elsewhere"
        self.counts.setdefault(what, Counter())[f"{line} {func}"] += 1
        if size:
            self.counts.setdefault(f"{what}, bytes", Counter())[f"{line} {func}"] += size


def _on_the_cpu(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation itself; a histogram of whole numbers, which only devices have, by way of others."""
    if func is aten.histc.default and not args[0].is_floating_point():
        return func(args[0].double(), *args[1:], **kwargs).to(args[0].dtype)
    return func(*args, **kwargs)


def register() -> None:
    """Make torch's place for a foreign device ready, once a process and before its first reverse pass."""
    if torch._C._get_privateuse1_backend_name() == NAME:
        return
    from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

    class Module(_DummyBackendModule):
        @staticmethod
        def device_count() -> int:
            return 1

        @staticmethod
        def is_available() -> bool:
            return True

        @staticmethod
        def current_device() -> int:
            return 0

        @staticmethod
        def get_amp_supported_dtype() -> list[torch.dtype]:
            return [torch.float16, torch.bfloat16, torch.float32]

    _setup_privateuseone_for_python_backend(rename=NAME, backend_module=Module())


def _current() -> Pretended:
    if Pretended.now is None:
        raise RuntimeError("A tensor has outlived the device that was pretended.")
    return Pretended.now
