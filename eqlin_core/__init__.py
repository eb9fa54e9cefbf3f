"""eqlin: the equivalent linear map of a language model at one prompt.

Names are loaded when they are first used, so that code that only draws (``eqlin_core.figures``) never waits for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eqlin_core.errors import Cancelled, EqlinError

if TYPE_CHECKING:
    from eqlin_core.linear_map import Exactness, LinearMap, linearize, ordinary_jacobian
    from eqlin_core.models import LanguageModel, load_model
    from eqlin_core.readout import read_input, read_output
    from eqlin_core.sites import Site
    from eqlin_core.spectra import Spectrum, spectrum

__version__ = "0.1.0"

_HOME = {
    "Site": "sites",
    "Exactness": "linear_map",
    "LinearMap": "linear_map",
    "linearize": "linear_map",
    "ordinary_jacobian": "linear_map",
    "LanguageModel": "models",
    "load_model": "models",
    "read_input": "readout",
    "read_output": "readout",
    "Spectrum": "spectra",
    "spectrum": "spectra",
}

__all__ = [
    "Cancelled",
    "EqlinError",
    "Exactness",
    "LanguageModel",
    "LinearMap",
    "Site",
    "Spectrum",
    "linearize",
    "load_model",
    "ordinary_jacobian",
    "read_input",
    "read_output",
    "spectrum",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
