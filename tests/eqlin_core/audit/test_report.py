"""The audit command: what it prints, and that its exit status is 0 only for a model whose every map is exact."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import eqlin_core as eq
from eqlin_core.audit import report as command
from eqlin_core.audit.architectures import tiny_architecture
from eqlin_core.audit.families import FAMILIES, build_tiny, tiny_model
from eqlin_core.audit.report import Audit, audit, report
from eqlin_core.audit.table import DTYPES, family_rows, markdown
from eqlin_core.freezing.treatments import treatments
from eqlin_core.runs.convention import Convention, settings
from eqlin_core.runs.exactness import BOUNDS
from eqlin_core.runs.treatments import gated
from tests.cases import FAMILY_NAMES, MARIN, PROMPT, default_model, family, stock_outputs

FAMILIES_TABLE = (Path(__file__).resolve().parents[3] / "docs" / "families.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama and no tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    tiny_model("llama", torch.float32).model.save_pretrained(folder)
    return folder


class Leaky(nn.Module):
    """Almost the module that it wraps."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return y + 0.1 * torch.tanh(y)


def load_leaky(name: str, dtype: str, device: str) -> eq.LanguageModel:
    lm = eq.load_model(name, dtype, device)
    block = lm.model.get_decoder().layers[1]
    block.mlp = Leaky(block.mlp)
    return lm


# ---- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_default_model_is_reported_exact_in_a_process_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "eqlin_core.audit", "smollm2-135m"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Traceback" not in done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) <= 45, "more than a screen"
    assert lines[0] == "smollm2-135m: llama, LlamaForCausalLM"
    assert lines[1] == "30 blocks, d = 576, 7 tokens, gated MLPs, b = 0"
    rows = {re.sub(r" +", " ", line) for line in lines}
    for row in (
        "LlamaAttention 30 attention weights held, values linear",
        "LlamaMLP 30 gate held whole, up linear",
        "LlamaMLP 30 up held, gate linear",
        "LlamaRMSNorm 61 RMSNorm, weight gamma",
        "Linear 120 linear as is",
        "no leaks",
    ):
        assert row in rows
    numbers = [line.split() for line in lines if line.startswith(("float32 ", "float64 "))]
    assert [(n[0], Convention(n[1], n[2]), n[-1]) for n in numbers] == [
        (dtype, dials, "yes") for dtype in ("float32", "float64") for dials in settings(gated=True)
    ]
    for dtype, _, _, reconstruction, bound, forward, forward_bound, _ in numbers:
        assert (float(bound), float(forward_bound)) == BOUNDS[dtype]
        assert 0 < float(reconstruction) < float(bound)
        assert 0 < float(forward) < float(forward_bound)
    assert lines[-1] == "exact"


def test_a_leaky_module_is_named_and_the_status_is_1(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(saved), "--device", "cpu"], load_leaky) == 1
    shown, warned = capsys.readouterr()
    assert warned == ""
    assert "leak: model.layers.1.mlp: Tanh is not linear" in shown
    assert re.search(r"Leaky +1 +LEAKS: Tanh is not linear \[model\.layers\.1\.mlp\]", shown)
    assert shown.splitlines()[-1] == "NOT EXACT"
    assert " NO\n" in shown


def test_the_same_model_without_the_leak_is_exact_on_fixed_token_ids(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(saved), "--device", "cpu"]) == 0
    assert "11 tokens" in capsys.readouterr().out
    assert command.main([str(saved), "--device", "cpu", "--token-ids", "3", "9", "3", "--dtype", "float16"]) == 0
    shown = capsys.readouterr().out
    assert "3 tokens" in shown
    assert shown.count("float16 ") == len(settings(gated=True))
    assert "float64" not in shown


def test_an_unfreezable_model_is_not_exact_and_its_module_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["--token-ids", *map(str, PROMPT)]
    built = tiny_architecture("inkling2_text", torch.float32)
    assert command.main(["inkling2", *ids], lambda *_: built) == 1
    shown = capsys.readouterr().out
    assert "leak: model.layers.0.mlp.experts.act_fn.gate_softcap: Tanh is not linear" in shown
    assert shown.splitlines()[-1] == "NOT EXACT"


def test_a_model_that_the_engine_refuses_is_not_exact_either(capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["--token-ids", *map(str, PROMPT)]
    assert command.main(["bert", *ids], lambda *_: build_tiny("bert", {})) == 1
    shown, warned = capsys.readouterr()
    assert shown.startswith("bert: NOT EXACT\nBertLMHeadModel is an encoder: its tokens read the later ones")
    assert warned == ""


def test_a_norm_that_hides_its_epsilon_in_its_code_is_known() -> None:
    found = audit(build_tiny("olmo", {}), token_ids=PROMPT)
    assert found.exact
    assert "LayerNorm, weight none" in {t.how for t in found.measured[0].treatments if t.class_name == "OlmoLayerNorm"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no such model"], "There is no model or folder 'no such model': check the spelling."),
        ([], "Name a model to audit (such as smollm2-135m, a folder or a .gguf file), or give --table."),
        (["smollm2-135m", "--prompt", " "], "The prompt is empty: type at least one word."),
        (["smollm2-135m", "--prompt", "Hi", "--token-ids", "5"], "Give --prompt or --token-ids, not both."),
        (["{saved}", "--prompt", "Hi"], "has no tokenizer: pass token_ids=[...] in place of a prompt."),
        (["{saved}", "--token-ids", "99"], "Token id 99 is outside this model's vocabulary of 64 tokens."),
        (["{saved}", "--device", "abacus"], "This machine has no device 'abacus'"),
        (["{saved}", "--dtype", "int3"], "Argument --dtype: invalid choice: 'int3'"),
        (["{saved}", "--token-ids", "x"], "Argument --token-ids: invalid int value: 'x'"),
        (["{saved}", "--loudly"], "Unrecognized arguments: --loudly"),
    ],
)
def test_what_cannot_be_audited_ends_with_status_2_and_one_sentence(
    arguments: list[str], sentence: str, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status: Any = command.main([argument.replace("{saved}", str(saved)) for argument in arguments])
    except SystemExit as end:
        status = end.code
    shown, warned = capsys.readouterr()
    assert status == 2
    assert shown == ""
    assert sentence in warned
    assert len(warned.splitlines()) == 1


def test_a_wrong_name_has_no_traceback_in_a_process_of_its_own() -> None:
    command_line = [sys.executable, "-m", "eqlin_core.audit", "no such model"]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "There is no model or folder 'no such model': check the spelling.\n"


# ---- the data behind it --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_audit_says_what_the_map_says() -> None:
    found = audit(default_model("float32"), MARIN)
    assert [m.convention for m in found.measured] == settings(gated=True)
    for measured in found.measured:
        lin = eq.linearize(default_model("float32"), MARIN, **measured.convention.keywords)
        assert measured.exactness == lin.exactness()
        assert measured.treatments == treatments(lin.network)
    assert (found.exact, found.leaks, found.n_tokens) == (True, [], 7)
    assert audit(default_model("float32")) == found, "the default prompt"


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("llama", "gpt2", "gemma3", "mixtral", "gpt_oss")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in FAMILY_NAMES
    ],
)
def test_of_every_family_each_module_that_runs_is_accounted_for(name: str) -> None:
    lm = family(name)
    found = audit(lm, token_ids=PROMPT)
    ran: set[nn.Module] = set()
    handles = [m.register_forward_hook(lambda m, *_: ran.add(m)) for m in lm.model.get_decoder().modules()]
    stock_outputs(lm, PROMPT)
    for handle in handles:
        handle.remove()
    for measured in found.measured:
        counted = {t.class_name: 0 for t in measured.treatments}
        for t in measured.treatments:
            counted[t.class_name] += t.count
            assert t.how
            assert not t.leaks
        assert counted == {kind: sum(type(m).__name__ == kind for m in ran) for kind in counted}
        assert sum(counted.values()) == len(ran)
        assert gated(measured.treatments) == FAMILIES[name].gated
    assert [m.convention for m in found.measured] == settings(FAMILIES[name].gated)
    assert (found.gated, found.affine, found.exact) == (FAMILIES[name].gated, FAMILIES[name].affine, True)
    assert len(report(found).splitlines()) <= 40, "more than a screen"


def test_an_audit_is_plain_data() -> None:
    found = audit(family("qwen3"), token_ids=PROMPT)
    assert isinstance(found, Audit)
    assert eval(repr(found), vars(command)) == found


def test_norms_gates_and_heads_are_told_apart_by_what_they_feed() -> None:
    up, gate, _, live, *_ = audit(family("qwen3"), token_ids=PROMPT).measured
    rows = {(t.class_name, t.how): t for t in up.treatments}
    L = family("qwen3").n_layers
    assert rows["Qwen3RMSNorm", "feeds held coefficients only (RMSNorm, weight gamma)"].count == 2 * L  # of q and k
    assert rows["Qwen3RMSNorm", "RMSNorm, weight gamma"].count == 2 * L + 1
    assert rows["Linear", "feeds held coefficients only"].count == 3 * L  # q, k and the gate
    assert rows["Linear", "linear as is"].count == 4 * L
    assert [t.how for t in gate.treatments if t.class_name == "SiLUActivation"] == ["SiLU as s(x) x"]
    assert {t.how: t.count for t in live.treatments if t.class_name == "Qwen3RMSNorm"} == {
        "RMSNorm, weight gamma": 4 * L + 1
    }, "with attention live, queries and keys are on the path"


# ---- the table -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> str:
    rows = family_rows(["qwen3", "gpt2"])
    assert all(row.exact for row in rows)
    return markdown(rows)


def test_the_table_has_a_row_for_each_family_and_a_column_for_each_precision(table: str) -> None:
    first, second = table.split("| family, float64")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in first.splitlines() if line[:1] == "|"]
    assert cells[0] == ["family", "b", *DTYPES]
    assert [row[0] for row in cells[2:]] == ["Qwen 3 (`qwen3`)", "GPT-2 (`gpt2`)", "bound"]
    assert [row[1] for row in cells[2:]] == ["0", "b", ""]
    bounds = [float(cell) for cell in cells[-1][2:]]
    assert bounds == [BOUNDS[dtype][0] for dtype in DTYPES]
    for row, conventions in zip(cells[2:-1], (2, 1), strict=True):
        for cell, bound in zip(row[2:], bounds, strict=True):
            errors = [float(error) for error in cell.split(" / ")]
            assert len(errors) == conventions
            assert all(0 < error < bound for error in errors)
    dials = [[cell.strip() for cell in line.strip("|").split("|")] for line in second.splitlines() if line[:1] == "|"]
    assert second.splitlines()[0] == " | half | half, attention half | 0.3, attention 0.7 | 0.7, attention 0.3 |"
    assert [row[0] for row in dials[1:]] == ["Qwen 3 (`qwen3`)", "GPT-2 (`gpt2`)", "bound"]
    assert dials[2][1] == "–", "no gated product"
    errors = [float(cell) for row in dials[1:-1] for cell in row[1:] if cell != "–"]
    assert len(errors) == 4 + 3
    assert all(0 < error < 1e-13 for error in errors)


def test_what_is_not_exact_is_marked_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BOUNDS, "float32", (1e-12, 1e-3))
    (row,) = family_rows(["gpt2"], ["float32"])
    assert not row.exact
    assert "(not exact)" in markdown([row])


def test_the_table_in_the_docs_has_every_family() -> None:
    section = FAMILIES_TABLE.partition("python -m eqlin_core.audit --table")[2].partition("\n## ")[0]
    for table, columns in zip(section.split("| family, float64"), (2 + len(DTYPES), 1 + 4), strict=True):
        rows = [line for line in table.splitlines() if re.match(r"\| .* \(`\w", line)]
        names = [re.findall(r"^\| (.*) \(`([\w-]+)`\)", row)[0] for row in rows]
        assert names == [(FAMILIES[name].title, name) for name in FAMILY_NAMES]
        assert all(len(row.strip("|").split("|")) == columns for row in rows)
    assert "not exact" not in section
    assert re.search(r"transformers [\d.]+, torch [\d.]+\S*, Python [\d.]+", section)
