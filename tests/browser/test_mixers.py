"""A state-space model on the pages: everything that it has is there, and no word is wrong for it."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
import torch
from playwright.sync_api import expect

import eqlin_core as eq
from eqlin_core.audit.families import randomise
from tests.browser.analysis import PATIENT, open_choices, tracebacks
from tests.browser.conftest import OpenPage
from tests.browser.visit import wait_idle

PAGES = {"tokens": "Who adds what?", "layers": "Where does it arise?", "steering": "What can it do?"}


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random Mamba that has the default model's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("models") / "mamba"
    tokenizer = eq.load_model("smollm2-135m").tokenizer
    assert tokenizer is not None
    config = AutoConfig.for_model("mamba", hidden_size=64, num_hidden_layers=4, state_size=8, vocab_size=len(tokenizer))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, 0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "mamba"
    return folder


def test_a_state_space_model_has_its_pages_and_no_word_of_attention(open_page: OpenPage, mamba: Path) -> None:
    for name, title in PAGES.items():
        page = open_page(f"/{name}?model={quote(str(mamba))}&prompt=The+bridge+out+of+Marin+is")
        page.get_by_text(title, exact=True).wait_for(timeout=PATIENT)
        page.locator(".js-plotly-plot").first.wait_for(timeout=PATIENT)
        wait_idle(page)
        assert not tracebacks(page)
        said = page.locator("[data-testid=stMain]").inner_text().lower()
        assert "something went wrong" not in said
        if name == "layers":
            assert "no split over heads" in said
        assert "attention" not in said
        if name == "tokens":
            open_choices(page)
            expect(page.locator(".st-key-split_gated").get_by_role("slider")).to_be_enabled()
            expect(page.locator(".st-key-split_attention").get_by_role("slider")).to_be_disabled()
