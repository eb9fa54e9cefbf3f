"""eqlin: the equivalent linear map of a language model at one prompt."""

from eqlin_core.errors import Cancelled, EqlinError
from eqlin_core.freezing import Site
from eqlin_core.linear_map import Exactness, LinearMap, linearize, ordinary_jacobian
from eqlin_core.models import LanguageModel, load_model
from eqlin_core.readout import read_input, read_output
from eqlin_core.spectra import Spectrum, spectrum

__version__ = "0.1.0"
