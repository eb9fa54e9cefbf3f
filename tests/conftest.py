"""What all tests share: array shapes are checked while they run, the number of threads and the seed are fixed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.shapes import check_shapes

if TYPE_CHECKING:
    from eqlin_core import LanguageModel
    from tests.installed import Installed

# Sums in floating point depend on how they are split over threads; two is what the smallest machine here has.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# No test leaves a run with whoever runs it, nor finds one that another left, except in a folder of its own.
os.environ["EQLIN_KEPT_RUNS"] = os.environ["EQLIN_SAVED_RUNS"] = "0"

# Before anything imports the engine, so that every function of it is checked.
check_shapes("eqlin_core")


@pytest.fixture(autouse=True)
def _seed() -> None:
    # A test that needs no torch does not wait for its import.
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def default_model_float64() -> LanguageModel:
    """The real default model in float64, on the CPU; shared, so leave it as it is."""
    from tests.cases import default_model

    return default_model("float64")


@pytest.fixture(scope="session")
def default_model_float32() -> LanguageModel:
    """The real default model in float32, on the CPU; shared, so leave it as it is."""
    from tests.cases import default_model

    return default_model("float32")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel of this checkout in a virtual environment of its own."""
    from tests.installed import install

    return install(tmp_path_factory.mktemp("wheel"))
