"""Whether the pretended devices refuse what real ones refuse, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from tests.devices.pretended import Pretended, Refused


def check_the_device() -> None:
    """Raise AssertionError with what is allowed and should not be, or the other way round."""
    x, y = torch.randn(3, 3), torch.randn(3, 3)
    index = torch.tensor([0, 2])
    with Pretended() as device:
        a = device.held(x)
        _all_refused(
            {
                "sum with the CPU's": lambda: a + y,
                "product with the CPU's": lambda: y @ a,
                "joined": lambda: torch.cat([a, y]),
                "gather": lambda: a.gather(1, torch.zeros(3, 1, dtype=torch.long)),
                "embedding": lambda: torch.nn.functional.embedding(index, a),
                "where": lambda: torch.where(a > 0, a, y),
                "its index for the CPU's": lambda: y[a[:, 0].long() * 0],
                "the CPU's values written": lambda: a.index_put((index,), y[:2]),
                "NumPy": lambda: np.asarray(a.numpy()),
                "the CPU's generator": lambda: torch.randn(3, device=a.device, generator=torch.Generator()),
                "other least squares": lambda: torch.linalg.lstsq(a, a, driver="gelsd"),
            }
        )
        allowed: list[Callable[[], object]] = [
            lambda: a * 2 + torch.tensor(3.0),
            lambda: a.clone().copy_(y),
            lambda: a.cpu() + y,
            lambda: a[index],
            lambda: a.new_zeros(3) + a,
            lambda: a @ torch.eye(3, device=a.device),
            lambda: torch.tensor([1.0, 2.0, 3.0], device=a.device) + a,
            lambda: a.sum().item(),
            lambda: a.double().sum(),
            lambda: torch.linalg.svd(a),
        ]
        for call in allowed:
            call()
        assert torch.equal((a @ a).cpu(), x @ x)
        device.reset()
        (a @ a).sum().item()
        assert (device.total("launch"), device.total("wait")) == (3, 1), device.report()
        device.held(y) + y.to(a.device)
        assert device.total("upload") == 1, device.report()
        leaf = device.held(x).requires_grad_()
        (gradient,) = torch.autograd.grad((leaf @ a).sum(), leaf)
        own = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad((own @ x).sum(), own)
        assert torch.equal(gradient.cpu(), expected)
    with Pretended("mps") as device:
        a = device.held(x)
        _all_refused(
            {
                "float64": lambda: a.double().sum(),
                "zeros in float64": lambda: torch.zeros(3, device=a.device, dtype=torch.float64),
                "float64 moved": lambda: x.double().to(a.device),
                "QR": lambda: torch.linalg.qr(a),
                "SVD": lambda: torch.linalg.svd(a),
            }
        )
        assert x.double().to(a.device, torch.float32).device == a.device


def _all_refused(calls: dict[str, Callable[[], object]]) -> None:
    for name, call in calls.items():
        try:
            call()
        except (Refused, TypeError, NotImplementedError):
            continue
        raise AssertionError(f"{name} was not refused")
