"""A model whose layers accelerate keeps on the CPU or on the disk until they run gives the same map, bit for bit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from torch import nn

import eqlin_core as eq
from eqlin_core.analysis.prompt import spectrum_run, token_run
from eqlin_core.audit.families import tiny_model
from eqlin_core.models.sites import find_layers
from tests.cases import FAMILY_NAMES, MARIN, PROMPT, default_model, family

# The families that hold weights in other places than linear layers and norms, and one of each other kind.
SOME = ["llama", "gemma3-multimodal", "gpt2", "phi3", "qwen3_moe", "gpt_oss"]
CPU = torch.device("cpu")


def offload(lm: eq.LanguageModel, how: str, folder: Path) -> None:
    """Take the weights of ``lm`` away, as accelerate does for a model that does not fit."""
    if how == "everything in CPU memory":
        cpu_offload(lm.model, execution_device=CPU)
    elif how == "everything on disk":
        disk_offload(lm.model, str(folder), execution_device=CPU)
    else:  # every other layer on the disk
        places = every_other_layer(lm)
        dispatch_model(lm.model, places, main_device="cpu", offload_dir=str(folder))
    away = [name for name, parameter in lm.model.named_parameters() if parameter.is_meta]
    assert len(away) > lm.n_layers


def every_other_layer(lm: eq.LanguageModel) -> dict[str, Any]:
    """A device map of ``lm``: odd blocks on the disk, all else on the CPU."""
    layers = find_layers(lm.model.get_decoder(), lm.n_layers)
    places: dict[str, Any] = {}

    def fill(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            if child is layers:
                places.update({f"{prefix}{name}.{i}": "disk" if i % 2 else "cpu" for i in range(len(layers))})
            elif any(m is layers for m in child.modules()):
                fill(child, f"{prefix}{name}.")
            else:
                places[prefix + name] = "cpu"

    fill(lm.model, "")
    return places


HOW = ["everything in CPU memory", "everything on disk", "every other layer on disk"]


OFTEN = [(SOME[0], how) for how in HOW] + [(name, "every other layer on disk") for name in SOME[1:]]


@pytest.mark.parametrize(("name", "how"), OFTEN)
def test_an_offloaded_model_has_the_same_map(name: str, how: str, tmp_path: Path) -> None:
    lm = tiny_model(name)
    offload(lm, how, tmp_path)
    for gated_path in ("up", "gate"):
        away = eq.linearize(lm, token_ids=PROMPT, gated_path=gated_path)
        here = eq.linearize(family(name), token_ids=PROMPT, gated_path=gated_path)
        torch.testing.assert_close(away.contributions(), here.contributions(), rtol=0, atol=0)
        torch.testing.assert_close(away.jacobian(), here.jacobian(), rtol=0, atol=0)
        torch.testing.assert_close(away.bias, here.bias, rtol=0, atol=0)
        assert away.exactness() == here.exactness()
        assert away.exactness().exact


@pytest.mark.slow
@pytest.mark.parametrize(("name", "how"), [case for case in itertools.product(FAMILY_NAMES, HOW) if case not in OFTEN])
def test_every_family_has_the_same_map_however_it_is_offloaded(name: str, how: str, tmp_path: Path) -> None:
    test_an_offloaded_model_has_the_same_map(name, how, tmp_path)


@pytest.mark.parametrize("how", HOW)
def test_what_pages_show_of_an_offloaded_model_is_the_same(how: str, tmp_path: Path) -> None:
    """Read-outs, logits and predictions read weights that are not there outside of the model's own passes."""
    lm = tiny_model("llama")
    offload(lm, how, tmp_path)
    away, here = (eq.linearize(m, token_ids=PROMPT) for m in (lm, family("llama")))
    assert (lm.device, lm.dtype, lm.vocab_size) == (CPU, torch.float64, 64)
    run, expected = token_run(away, ""), token_run(here, "")
    assert [(t.token_id, t.logit) for t in run.targets] == [(t.token_id, t.logit) for t in expected.targets]
    assert run.treatments == expected.treatments
    spectra, expected_spectra = spectrum_run(away, k=3), spectrum_run(here, k=3)
    assert spectra.reads_u == expected_spectra.reads_u
    assert spectra.reads_v == expected_spectra.reads_v


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_the_default_model_offloaded_has_the_same_map(how: str, tmp_path: Path) -> None:
    lm = eq.load_model("smollm2-135m", "float32", device="cpu")
    offload(lm, how, tmp_path)
    away, here = (eq.linearize(m, MARIN) for m in (lm, default_model("float32")))
    torch.testing.assert_close(away.contributions(), here.contributions(), rtol=0, atol=0)
    torch.testing.assert_close(away.jacobian(), here.jacobian(), rtol=0, atol=0)
    assert away.exactness() == here.exactness()
    (read,), (expected,) = (eq.read_output(m, y) for m, y in ((lm, away.output), (here.lm, here.output)))
    assert [token for token, _ in read] == [token for token, _ in expected]
    assert [score for _, score in read] == pytest.approx([score for _, score in expected], rel=1e-5)  # alignment


def test_the_default_model_spread_over_memory_and_disk_has_the_same_contributions() -> None:
    lm = eq.load_model("smollm2-135m", "float32", device="cpu", device_map="auto", max_memory={"cpu": "300MB"})
    away = [name for name, parameter in lm.model.named_parameters() if parameter.is_meta]
    assert 10 < len(away) < len(list(lm.model.parameters()))
    lin, here = (eq.linearize(m, MARIN) for m in (lm, default_model("float32")))
    torch.testing.assert_close(lin.contributions(), here.contributions(), rtol=0, atol=0)
    assert lin.exactness() == here.exactness()


def test_a_memory_limit_without_a_map_is_refused() -> None:
    with pytest.raises(eq.EqlinError, match='give device_map="auto" with it'):
        eq.load_model("smollm2-135m", max_memory={"cpu": "1GB"})
