"""The code of a view, run as it stands, gives the numbers that the page shows."""

from __future__ import annotations

import contextlib
import functools
import io
import json
from typing import Any

import numpy as np
import pytest

import eqlin_core as eq
from eqlin_core.analysis.answer import answer_run
from eqlin_core.analysis.layers import heads_run, sweep_run
from eqlin_core.analysis.lenses import lens_run
from eqlin_core.analysis.matrix import matrix_run, reconstruction
from eqlin_core.analysis.prompt import spectrum_run, token_run
from eqlin_core.analysis.ranks import joint_run, rank_run
from eqlin_core.analysis.steering import read_plan, steered_text
from eqlin_core.analysis.validity import counterfactual_run, validity_run
from eqlin_core.runs.split import TargetKind
from eqlin_core.runs.steering import SteeringPlan
from tests.cases import default_model
from tests.eqlin_core.models.model_cases import CHAT_TEMPLATE
from tests.eqlin_core.odd_calls import tiny_with_text

PROMPT = "The capital of"


@pytest.fixture(params=["tiny", pytest.param("default", marks=pytest.mark.slow)])
def lm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> eq.LanguageModel:
    """The model that the code gets where it loads one by its name: one that all tests share."""
    found = tiny() if request.param == "tiny" else default_model("float32")
    loaded(found, monkeypatch)
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> eq.LanguageModel:
    """The tiny model in its place, for what is the same with every model."""
    loaded(tiny(), monkeypatch)
    return tiny()


def loaded(found: eq.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_model(name: str, dtype: str) -> eq.LanguageModel:
        assert (name, dtype) == ("smollm2-135m", "float32")
        return found

    monkeypatch.setattr("eqlin_core.models.loading.load_model", load_model)


@functools.cache
def tiny() -> eq.LanguageModel:
    found = tiny_with_text()
    assert found.tokenizer is not None
    found.tokenizer.chat_template = CHAT_TEMPLATE
    return found


def run(code: str) -> dict[str, Any]:
    """The names that the code leaves behind."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, "view", "exec"), names)
    return names


def test_tokens(lm: eq.LanguageModel) -> None:
    page = eq.View(
        "tokens", PROMPT, gated_path="half", attention="half", baseline="mean", kind="log-probability", target=260
    )
    made = run(eq.page_code(page))
    shown = token_run(eq.linearize(lm, PROMPT, gated_path="half", attention="half"), PROMPT, baseline="mean")
    w = lm.unembedding[260].double().numpy() - shown.expected
    for name, expected in zip(("terms", "bias", "total"), shown.split(w), strict=True):
        np.testing.assert_allclose(made[name], np.asarray(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made["norms"], shown.norms, rtol=1e-6)
    np.testing.assert_allclose(made["cosines"], shown.cosines, rtol=1e-5, atol=1e-6)
    rows = np.stack([t.row for t in shown.targets]) - shown.expected
    np.testing.assert_allclose(made["shares"], shown.contributions @ rows.T, rtol=1e-5, atol=1e-5)


def test_tokens_against_each_other_and_with_begin_of_text(lm: eq.LanguageModel) -> None:
    begins = lm.tokenizer is not None and lm.tokenizer.bos_token_id is not None
    made = run(eq.page_code(eq.View("tokens", PROMPT, begin=begins, versus=260)))
    begin = [lm.tokenizer.bos_token_id] if lm.tokenizer is not None and begins else []
    assert made["lin"].token_ids == [*begin, *lm.encode(PROMPT)]
    first = made["run"].targets[0]
    other = made["lm"].unembedding[260].double().numpy()
    assert made["total"] == pytest.approx(float((first.row - other) @ made["run"].output))


def test_spectra(lm: eq.LanguageModel) -> None:
    made = run(eq.page_code(eq.View("spectra", PROMPT, token=2, k=5)))
    lin = eq.linearize(lm, PROMPT)
    shown = spectrum_run(lin, 5)
    np.testing.assert_allclose(made["spectra"].S, shown.S, rtol=1e-5)
    np.testing.assert_allclose(made["spectra"].stable_rank, shown.stable_rank, rtol=1e-5)
    w = token_run(lin, PROMPT).targets[0].row
    np.testing.assert_allclose(made["shares"], shown.shares(2, w), rtol=1e-3, atol=1e-4)
    assert made["spectra"].reads_u[2][0][0][0] == shown.reads_u[2][0][0][0]
    np.testing.assert_allclose(made["cut"].error.numpy(), rank_run(lin, 5).error, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(made["joint"].S.numpy(), joint_run(lin, 5).S, rtol=1e-5)


def test_matrix(lm: eq.LanguageModel) -> None:
    made = run(eq.page_code(eq.View("matrix", PROMPT, token=1, frozen=("norms", "gates"))))
    lin = eq.linearize(lm, PROMPT)
    shown, again = matrix_run(lin, 1), reconstruction(lin, ("norms", "gates"))
    np.testing.assert_allclose(made["column_norms"].numpy(), shown.column_norms, rtol=1e-5)
    np.testing.assert_allclose(made["row_norms"].numpy(), shown.row_norms, rtol=1e-5)
    assert made["columns"].tolist() == [line.index for line in shown.columns]
    assert made["rows"].tolist() == [line.index for line in shown.rows]
    assert [row[0][0] for row in made["writes_as"]] == [line.reads[0][0] for line in shown.columns]
    assert [row[0][0] for row in made["seeks_as"]] == [line.reads[0][0] for line in shown.rows]
    assert made["part"].reconstruction == pytest.approx(again.error, rel=1e-4)
    assert made["part"].exact == again.exact


def test_matrix_towards_another_token_or_along_its_own_direction(small: eq.LanguageModel) -> None:
    lin = eq.linearize(small, PROMPT)
    for way in ({"towards": 260}, {"along": True}):
        made = run(eq.page_code(eq.View("matrix", PROMPT, token=1, **way)))
        shown = validity_run(lin, 1, way.get("towards"), along="along" in way)
        np.testing.assert_allclose(made["reach"].divergence.numpy(), shown.divergence, rtol=1e-3, atol=1e-6)


def test_compare_with_swapped_tokens(small: eq.LanguageModel) -> None:
    text, dials = "The capital in", eq.Convention("half", "half")
    ids = [small.encode(prompt) for prompt in (PROMPT, text)]
    targets = [token_run(eq.linearize(small, token_ids=of), "").targets[1].token_id for of in ids]
    b = eq.View("tokens", text, heads_by=dials, k=2, target=targets[1])
    for side in ("a", "b"):
        made = run(eq.page_code(eq.View("compare", PROMPT, k=2, target=targets[0], frozen_at=side, compared=b)))
        here, there = ids if side == "a" else ids[::-1]
        lin = eq.linearize(small, token_ids=here, **(dials if side == "b" else eq.Convention()).keywords)
        shown = counterfactual_run(lin, there, targets[side == "b"])
        np.testing.assert_allclose(made["swapped"].map[0].numpy(), shown.map, rtol=1e-4, atol=1e-5)
        assert float(made["swapped"].measured[0]) == pytest.approx(shown.measured, abs=1e-4)


def test_layers(lm: eq.LanguageModel) -> None:
    made = run(eq.page_code(eq.View("layers", PROMPT, layer=1, part="mlp", token=2, baseline="mean")))
    lin = eq.linearize(lm, PROMPT)
    shown = sweep_run(lin, "cumulative", 8)
    np.testing.assert_allclose(made["sweep"].triplets.S.numpy(), shown.S[:, :, :-1], rtol=1e-4)
    assert [t for t, _ in made["reads"]][:4] == [t for t, _ in shown.reads("u", 1, "mlp", 2, 0)][:4]
    target = token_run(lin, PROMPT).targets[0].token_id
    heads = heads_run(lin, [target], baseline="mean")
    np.testing.assert_allclose(made["heads"].numpy(), heads.heads[0], rtol=1e-4, atol=1e-5)


def test_layers_by_another_map_and_of_all_tokens(lm: eq.LanguageModel) -> None:
    dials = eq.Convention("half", "half")
    made = run(eq.page_code(eq.View("layers", PROMPT, joint=True, triplet=1, heads_by=dials)))
    lin = eq.linearize(lm, PROMPT)
    place = (0, sweep_run(lin, "cumulative", 8).kinds.index("layer"), -1, 1)
    assert made["reads"] == made["sweep"].read_u(0, "layer", None, 1)
    assert made["sweep"].joint.S[place[:2]][1] == pytest.approx(sweep_run(lin, "cumulative", 8).S[place], rel=1e-4)
    target = token_run(lin, PROMPT).targets[0].token_id
    heads = heads_run(eq.linearize(lm, PROMPT, **dials.keywords), [target])
    np.testing.assert_allclose(made["heads"].numpy(), heads.heads[0], rtol=1e-4, atol=1e-5)


def test_layers_through_lenses(small: eq.LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eqlin_core.studies.prompts.study_prompts", lambda _: [eq.StudyPrompt("a", "The king of")])
    page = eq.View("layers", PROMPT, target=260, lenses=("jacobian",))
    made = run(eq.page_code(page))
    lens = eq.fit_lens(small, ["The king of"], "jacobian", skip=1)
    shown = lens_run(eq.linearize(small, PROMPT), 260, [lens])
    assert list(made["lenses"]) == shown.reads
    assert made["read"].ranks[:, 0].tolist() == shown.ranks[-1].tolist(), "of the last one"
    np.testing.assert_allclose(made["cosines"].numpy(), shown.cosines[-1, :-1], rtol=1e-4, atol=1e-6)
    assert "sweep" not in made
    with pytest.raises(eq.EqlinError, match="a kind of lens"):
        eq.View("layers", PROMPT, lenses=("logit",))


def test_steering(lm: eq.LanguageModel) -> None:
    page = eq.View(
        "steering", "I went to", concept="The Golden Gate Bridge", layers=2, strengths=(0.0, 1.5), max_new_tokens=4
    )
    made = run(eq.page_code(page))
    plan = SteeringPlan("The Golden Gate Bridge", "I went to", 2, max_new_tokens=4)
    operator = eq.steering_operator(lm, plan.concept, plan.layers)
    shown = [steered_text(lm, read_plan(lm, plan), [operator], (strength,)).text for strength in (0.0, 1.5)]
    assert [text.text for text in made["texts"]] == shown


def test_compare(lm: eq.LanguageModel) -> None:
    dials, text = eq.Convention("half", "half"), "The capital of France"
    in_a = token_run(eq.linearize(lm, PROMPT), PROMPT, baseline="mean")
    in_b = token_run(eq.linearize(lm, text, **dials.keywords), text, baseline="mean")
    second = in_b.targets[1].token_id
    b = eq.View("tokens", text, gated_path="half", baseline="mean", heads_by=dials, k=4, target=second)
    made = run(eq.page_code(eq.View("compare", PROMPT, baseline="mean", kind="log-probability", k=4, compared=b)))
    shown = eq.compare_runs(in_a, in_b, kind="log-probability", target_b=second)
    np.testing.assert_allclose(made["found"].difference, shown.difference, rtol=1e-5, atol=1e-5)
    assert made["found"].total == pytest.approx(shown.total, abs=1e-5)
    assert made["found"].differs == shown.differs
    maps = eq.linearize(lm, PROMPT), eq.linearize(lm, text, gated_path="half")
    spectra = made["maps"].spectra
    for S, lin in zip((spectra.S_a, spectra.S_b), maps, strict=True):
        np.testing.assert_allclose(S, spectrum_run(lin, 4).S[: len(S)], rtol=1e-5)
    np.testing.assert_allclose(made["maps"].joint.S_b, joint_run(maps[1], 4).S, rtol=1e-5)


CHAT = "system: be brief\nuser: the bridge\nassistant: the"
READ: list[dict[str, Any]] = [
    {"answer": " caf\u00e9 's"},
    {"answer": " the", "position": 1},
    {"answer": " the", "position": 4},
    {"position": 1},
    {"chat": True},
    {"chat": True, "answer": "the bridge", "position": 9},
]


def explained(lm: eq.LanguageModel, view: eq.View) -> list[int]:
    """The ids of a view's text up to the token whose next one it explains."""
    chat = eq.read_chat(view.prompt) if view.chat else None
    text = eq.read_text(lm, None if view.chat else view.prompt, chat=chat, answer=view.answer or None)
    return text.token_ids[: text.first if view.position is None else view.position + 1]


@pytest.mark.parametrize("asked", READ)
def test_tokens_of_a_chat_of_an_answer_and_at_a_position(asked: dict[str, Any], small: eq.LanguageModel) -> None:
    view = eq.View("tokens", CHAT if "chat" in asked else PROMPT, gated_path="half", **asked)
    made = run(eq.page_code(view))
    ids = explained(small, view)
    assert made["lin"].token_ids == ids
    shown = token_run(eq.linearize(small, token_ids=ids, gated_path="half"), view.prompt)
    np.testing.assert_allclose(made["terms"], shown.split(shown.targets[0].row)[0], rtol=1e-5, atol=1e-5)
    assert made["run"].prompt == view.prompt


@pytest.mark.parametrize("page", ["spectra", "matrix", "layers"])
def test_every_page_explains_the_same_text(page: str, small: eq.LanguageModel) -> None:
    view = eq.View(page, CHAT, chat=True, answer=" the bridge", position=6, k=3, token=1)
    made = run(eq.page_code(view))
    assert made["lin"].token_ids == explained(small, view)
    if page == "layers":
        shown = sweep_run(eq.linearize(small, token_ids=explained(small, view)), "cumulative", 8)
        np.testing.assert_allclose(made["sweep"].triplets.S.numpy(), shown.S[:, :, :-1], rtol=1e-4)


def test_compare_a_chat_with_a_position(small: eq.LanguageModel) -> None:
    chat = eq.View("tokens", CHAT, chat=True, k=2, answer="the")
    view = eq.View("compare", PROMPT, answer=" the bridge", position=3, k=2, compared=chat)
    made = run(eq.page_code(view))
    sides = [token_run(eq.linearize(small, token_ids=explained(small, side)), side.prompt) for side in (view, chat)]
    shown = eq.compare_runs(*sides)
    np.testing.assert_allclose(made["found"].difference, shown.difference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["logit", "log-probability"])
@pytest.mark.parametrize("chat", [False, True])
def test_answer(kind: TargetKind, chat: bool, lm: eq.LanguageModel) -> None:
    prompt = CHAT if chat else PROMPT
    view = eq.View("answer", prompt, chat=chat, answer=" the bridge", kind=kind, baseline="mean", attention="half")
    made = run(eq.page_code(view))
    given = {"chat": eq.read_chat(prompt)} if chat else {"prompt": prompt}
    text = eq.read_text(lm, answer=" the bridge", **given)
    shown = answer_run(eq.linearize(lm, token_ids=text.token_ids, attention="half"), text, kind, "mean")
    assert made["text"].token_ids == text.token_ids
    np.testing.assert_allclose(made["split"].terms.numpy(), shown.terms, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(made["split"].values.numpy(), shown.values, rtol=1e-5, atol=1e-5)
    words = eq.groups_of(shown.text, "word")
    np.testing.assert_allclose(made["parts"], shown.parts(words), rtol=1e-5, atol=1e-5)
    assert sum(made["parts"]) + float(made["rest"].sum()) == pytest.approx(shown.total, abs=1e-4)


@pytest.mark.parametrize("prompt", ['it\'s "quoted"', "two\nlines\\n", "'''; raise SystemExit #", "日本 \u202e"])
def test_a_prompt_is_quoted_and_the_text_is_always_the_same(prompt: str) -> None:
    for page in ("tokens", "spectra", "matrix", "layers", "steering", "answer"):
        view = eq.View(page, prompt, concept=prompt, model=prompt, answer=prompt)
        code = eq.page_code(view)
        assert code == eq.page_code(eq.View(page, prompt, concept=prompt, model=prompt, answer=prompt))
        both = eq.page_code(eq.View("compare", PROMPT, compared=view))
        assert repr(prompt) in both
        assert compile(both, "compare", "exec")
        names: dict[str, Any] = {}
        (line,) = [line for line in code.splitlines() if line.startswith("prompt = ")]
        assert compile(code, page, "exec")
        exec(line, names)
        assert names["prompt"] == prompt


@pytest.mark.parametrize("page", ["tokens", "spectra", "matrix", "layers", "steering", "compare", "answer"])
def test_the_notebook_has_the_same_code_in_cells(page: str) -> None:
    other = eq.View("tokens", "x") if page == "compare" else None
    view = eq.View(page, PROMPT, concept="x", answer=" x" if page == "answer" else "", compared=other)
    notebook = json.loads(eq.page_notebook(view))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert all(set(cell) >= {"cell_type", "id", "metadata", "source"} for cell in cells)
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")
    kept = [line for text in code for line in text.splitlines() if not line.endswith(".figure.show()")]
    assert kept == eq.page_code(view).replace("\n\n#", "\n#").splitlines()
    assert all(compile(text, page, "exec") for text in code)


def test_choices_that_do_not_exist_are_refused() -> None:
    wrong: dict[str, Any]
    for wrong in (
        {"page": "start"},
        {"mode": "x"},
        {"frozen": ("all",)},
        {"baseline": -1},
        {"page": "compare"},
        {"page": "answer"},
        {"position": -1},
    ):
        with pytest.raises(eq.EqlinError, match=r"\.$"):
            eq.View(**({"page": "tokens", "prompt": "a"} | wrong))
