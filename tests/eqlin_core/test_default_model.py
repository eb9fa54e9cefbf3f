"""Measured facts of the real default model at one prompt, which float32 and float64 agree on."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import eqlin_core as eq
from tests.cases import MARIN, default_model, marin_map, relative, stock_outputs, stock_residual_stream


@pytest.fixture(scope="module")
def lin() -> eq.LinearMap:
    return marin_map()


@pytest.fixture(scope="module")
def spectrum(lin: eq.LinearMap) -> eq.Spectrum:
    return eq.spectrum(lin, k=4)


def test_the_map_of_the_default_model_is_exact_in_float64(lin: eq.LinearMap) -> None:
    exactness = lin.exactness()
    assert exactness.exact
    assert exactness.reconstruction < 1e-14
    assert exactness.forward < 1e-5
    assert lin.output.dtype == torch.float64
    assert not lin.bias.any(), "a Llama has no biases"


def test_all_positions_and_layers_agree_with_the_stock_model(lin: eq.LinearMap) -> None:
    lm = default_model()
    stock = stock_outputs(lm, lin.token_ids)
    for frozen, expected in zip(lin.network.values.detach(), stock, strict=True):
        assert relative(frozen, expected) < 1e-5
    stream = stock_residual_stream(lm, lin.token_ids)
    for layer in (0, 14, 28):
        place = eq.linearize(lm, MARIN, target=eq.Site(layer, "layer"), final_norm=False)
        assert relative(place.network.values.detach(), stream[layer]) < 1e-5


def test_its_first_singular_values_are_the_measured_ones(spectrum: eq.Spectrum) -> None:
    expected = torch.tensor([63.93, 4.45, 2.99, 4.53, 13.13, 4.11, 5.10], dtype=torch.float64)
    torch.testing.assert_close(spectrum.S[:, 0], expected, rtol=0, atol=0.006)


def test_its_stable_ranks_are_the_measured_ones(spectrum: eq.Spectrum) -> None:
    expected = torch.tensor([1.01, 10.36, 2.26, 1.78, 8.80, 1.39, 1.30], dtype=torch.float64)
    torch.testing.assert_close(spectrum.stable_rank, expected, rtol=0, atol=0.006)


def test_the_first_left_vector_of_bridge_reads_as_bridges(spectrum: eq.Spectrum) -> None:
    (row,) = eq.read_output(default_model(), spectrum.U[1, :, 0], k=6)
    assert [token.strip() for token, _ in row] == ["Highway", "bridge", "Link", "Pipeline", "connecting", "Route"]


def test_float32_agrees_with_float64(lin: eq.LinearMap, spectrum: eq.Spectrum) -> None:
    single = marin_map("float32")
    assert relative(single.jacobian().double(), lin.jacobian()) < 1e-3
    torch.testing.assert_close(eq.spectrum(single, k=4).S.double(), spectrum.S, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "reconstruction", "forward"), [("float32", 5e-6, 1e-4), ("bfloat16", 5e-2, 1e-1), ("float16", 1e-2, 2e-2)]
)
def test_lower_precisions_stay_within_their_bounds(dtype: str, reconstruction: float, forward: float) -> None:
    exactness = eq.linearize(default_model(dtype), MARIN).exactness()
    assert exactness.dtype == dtype
    assert exactness.reconstruction < reconstruction
    assert exactness.forward < forward
    assert exactness.exact


@pytest.mark.slow
def test_the_ordinary_jacobian_of_the_default_model_does_not_reconstruct() -> None:
    single = eq.linearize(default_model("float32"), MARIN)
    ordinary = eq.ordinary_jacobian(default_model("float32"), MARIN)
    assert relative(torch.einsum("toi,ti->o", ordinary, single.inputs), single.output) > 0.5


def test_the_engine_imports_no_streamlit() -> None:
    code = (
        "import sys, pkgutil, importlib, eqlin_core\n"
        "names = [m.name for m in pkgutil.walk_packages(eqlin_core.__path__, 'eqlin_core.')]\n"
        "[importlib.import_module(n) for n in names if not n.endswith('__main__')]\n"
        "assert len(names) > 8, names\n"
        "sys.exit('streamlit' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
