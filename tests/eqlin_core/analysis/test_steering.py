"""The grid that the page shows, on the real default model: stages, texts, presets, and where the concept lives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import eqlin_core as eq
from eqlin_core.analysis.steering import depth_guide, read_plan, steered_text, steering_grid
from eqlin_core.runs.steering import GRID, SteeringGrid, SteeringPlan
from eqlin_core.steering.operators import SteeringOperator, steering_operator
from eqlin_core.steering.presets import STEERING_PRESETS
from eqlin_core.steering.steer import steer

PLAN = SteeringPlan("The Golden Gate Bridge", "Here is a painting of the", 20, final_norm=False, max_new_tokens=8)


@pytest.fixture(scope="module")
def operator(default_model_float32: eq.LanguageModel) -> SteeringOperator:
    return steering_operator(default_model_float32, PLAN.concept, layers=20, final_norm=False)


@pytest.fixture(scope="module")
def stages(default_model_float32: eq.LanguageModel, operator: SteeringOperator) -> list[SteeringGrid]:
    seen: list[SteeringGrid] = []
    read = read_plan(default_model_float32, PLAN)
    seen.append(steering_grid(default_model_float32, read, [operator], publish=seen.append))
    return seen


def test_stages_come_one_after_the_other_and_keep_what_was_there(stages: list[SteeringGrid]) -> None:
    assert [g.complete for g in stages] == [False, False, False, True]
    assert stages[0].measured is None
    assert stages[1].forecast is None
    assert stages[2].flip is not None
    assert all(g.texts is stages[0].texts for g in stages)


def test_the_preset_in_the_design_says_what_it_says_there(stages: list[SteeringGrid]) -> None:
    grid = stages[-1]
    texts = {s[0]: t.text for s, t in zip(grid.strengths, grid.texts, strict=True)}
    assert list(texts) == list(GRID)
    assert texts[0.0].startswith(" city of Venice. Can you tell")
    assert texts[1.0].startswith(" Great South Bridge, a bridge that")
    assert grid.unsteered == 0
    assert grid.flip is not None
    assert grid.flip.token == " Great"
    assert 0.3 < (grid.flip.strength or 0) <= 0.4


def test_the_concept_gains_more_from_its_own_operator_than_from_a_random_one(stages: list[SteeringGrid]) -> None:
    grid = stages[-1]
    assert grid.measured is not None
    assert grid.control is not None
    assert grid.measured.concept[10] - grid.control.concept[10] > 1
    assert grid.measured.divergence[0] == grid.control.divergence[0] == 0
    assert np.isfinite(grid.measured.perplexity).all()
    assert grid.control_texts[0].text == grid.texts[0].text


def test_a_text_between_the_grids_strengths_is_what_steer_gives(
    default_model_float32: eq.LanguageModel, operator: SteeringOperator
) -> None:
    seen: list[str] = []
    read = read_plan(default_model_float32, PLAN)
    made = steered_text(default_model_float32, read, [operator], (0.97,), on_text=seen.append)
    alone = steer(default_model_float32, PLAN.prompt, operator=operator, strength=0.97, max_new_tokens=8)
    assert made.text == alone.text == seen[-1]
    assert len(seen) == 8


def test_the_guide_reads_every_depth(default_model_float32: eq.LanguageModel) -> None:
    guide = depth_guide(default_model_float32, PLAN.concept)
    log_p = guide.log_probability
    assert len(guide.reads) == len(log_p) == 30
    assert guide.reads[-1][0][0] == guide.said
    assert log_p[-1] == max(log_p[-1], log_p[0])
    assert guide.words == [" Bridge", " Gate", " Golden"]
    assert [len(curve) for curve in guide.word_log_probability] == [30] * 3


def test_the_words_that_name_the_concept_become_likely(stages: list[SteeringGrid]) -> None:
    (bridge, *others), final = stages[1].named, stages[-1].named
    assert [word.word for word in (bridge, *others)][:3] == [" Bridge", " Gate", " Golden"]
    assert bridge.control is None
    assert final[0].control is not None
    assert bridge.log_probability[10] - final[0].control[10] > 1
    assert bridge.log_probability[0] == final[0].control[0]


@pytest.mark.slow
def test_every_preset_changes_the_text(default_model_float32: eq.LanguageModel, operator: SteeringOperator) -> None:
    expected = {
        "Golden Gate": "Bridge",
        "Dragon": "dragon",
        "Ocean": "ocean",
        "Paris": "Paris",
        "Soldier": "soldier",
        "Cat": "cat",
        "Tallest bridge": "bridge",
    }
    assert set(expected) == set(STEERING_PRESETS)
    operators = {(PLAN.concept, PLAN.layers, PLAN.final_norm): operator}  # two presets have one concept
    for name, word in expected.items():
        preset = STEERING_PRESETS[name]
        of = preset.concept, preset.layers, preset.final_norm
        if of not in operators:
            operators[of] = steering_operator(default_model_float32, of[0], of[1], final_norm=of[2])
        op = operators[of]
        made = steer(default_model_float32, preset.prompt, operator=op, strength=preset.strength, max_new_tokens=12)
        plain = steer(default_model_float32, preset.prompt, max_new_tokens=12)
        assert word in made.text
        assert word not in plain.text


def test_the_chat_template_frames_the_prompt_and_the_answer_ends(default_model_float32: eq.LanguageModel) -> None:
    made = steer(default_model_float32, "What is 2 + 2? Answer with the number only.", chat=True, max_new_tokens=24)
    assert default_model_float32.tokenizer is not None
    framed = default_model_float32.tokenizer.decode(made.prompt_ids)
    assert "<|im_start|>user" in framed
    assert framed.endswith("<|im_start|>assistant\n")
    assert made.ended
    assert "<|im_end|>" not in made.text
    assert made.logits.shape[0] == len(made.token_ids)


def test_a_saved_operator_of_the_default_model_says_what_it_is(operator: SteeringOperator, tmp_path: Path) -> None:
    operator.save(tmp_path / "bridge.safetensors")
    assert b'"concept":"The Golden Gate Bridge"' in (tmp_path / "bridge.safetensors").read_bytes()[:2000]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"concept": " "}, "The concept is empty"),
        ({"prompt": ""}, "The prompt is empty"),
        ({"layers": 31}, "A depth of 31 blocks does not exist: choose 1 to 30"),
        ({"block": 30}, "Block 30 does not exist"),
        ({"temperature": float("nan")}, "temperature is a number at least 0, not nan"),
        ({"prompt": "word " * 9000}, "longer than|reads at most"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_at_once(
    default_model_float32: eq.LanguageModel, change: dict[str, object], message: str
) -> None:
    with pytest.raises(eq.EqlinError, match=message):
        read_plan(default_model_float32, replace(PLAN, **change))  # type: ignore[arg-type]


def test_a_plans_texts_are_read_as_tokens_once(
    default_model_float32: eq.LanguageModel, operator: SteeringOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    encode = eq.LanguageModel.encode

    def listened(lm: eq.LanguageModel, prompt: str) -> list[int]:
        texts.append(prompt)
        return encode(lm, prompt)

    monkeypatch.setattr(eq.LanguageModel, "encode", listened)
    read = read_plan(default_model_float32, replace(PLAN, max_new_tokens=1))
    steered_text(default_model_float32, read, [operator], (0.5,))
    assert sorted(texts) == sorted([PLAN.prompt, PLAN.concept])
