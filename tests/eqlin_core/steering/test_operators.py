"""Operators on their own: saving, loading, being refused, the random control, the angle, and bad concepts."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from eqlin_core.steering.operators import (
    load_operator,
    operator_angle,
    random_operator,
    steering_operator,
)
from eqlin_core.steering.steer import steer
from tests.eqlin_core.steering.steering_cases import CONCEPT, PROMPT, lm, operator


def test_a_saved_operator_is_the_same_operator(tmp_path: Path) -> None:
    operator().save(tmp_path / "op.safetensors")
    loaded = load_operator(tmp_path / "op.safetensors", lm())
    assert torch.equal(loaded.J, operator().J)
    assert loaded.header() == operator().header()
    before = steer(lm(), token_ids=PROMPT, operator=operator(), strength=0.8, max_new_tokens=4)
    after = steer(lm(), token_ids=PROMPT, operator=loaded, strength=0.8, max_new_tokens=4)
    assert torch.equal(before.logits, after.logits)


def test_the_files_header_can_be_read_by_people(tmp_path: Path) -> None:
    path = tmp_path / "op.safetensors"
    operator().save(path)
    data = path.read_bytes()
    header = data[8 : 8 + struct.unpack("<Q", data[:8])[0]].decode()
    for words in ('"model":"tiny llama"', '"layers":"2"', '"gated_path":"up"', '"dtype":"float64"', '"engine":"'):
        assert words in header
    assert '"revision":' in header
    assert '"concept":' in header


def test_an_operator_steers_the_same_model_in_another_precision() -> None:
    single = tiny_model("llama", torch.float32)
    made = steer(single, token_ids=PROMPT, operator=operator(), strength=0.8, max_new_tokens=4)
    double = steer(lm(), token_ids=PROMPT, operator=operator(), strength=0.8, max_new_tokens=4)
    assert made.token_ids == double.token_ids
    torch.testing.assert_close(made.logits.double(), double.logits, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"hidden_size": 16, "head_dim": 4}, "its width is 32, the model's 16"),
        ({"num_hidden_layers": 1}, "it was made from 2 blocks, the model has 1"),
        ({"seed": 1}, "other embeddings there"),
    ],
)
def test_an_operator_of_another_model_is_refused_with_the_reason(other: dict[str, int], reason: str) -> None:
    model = tiny_model("llama", **other)  # type: ignore[arg-type]
    with pytest.raises(eq.EqlinError, match=f"does not fit tiny llama: .*{reason}.*make it from this model"):
        steer(model, token_ids=PROMPT, operator=operator(), strength=0.5)


def test_an_operator_of_another_revision_is_refused(tmp_path: Path) -> None:
    replace(operator(), revision="0123456789abcdef").save(tmp_path / "op.safetensors")
    with pytest.raises(eq.EqlinError, match="made from tiny llama, revision 0123456789ab"):
        load_operator(tmp_path / "op.safetensors", lm())


def test_files_that_hold_no_operator_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(eq.EqlinError, match="cannot be read"):
        load_operator(tmp_path / "missing.safetensors")
    (tmp_path / "noise").write_bytes(b"no operator at all, but text that is long enough")
    with pytest.raises(eq.EqlinError, match="noise is damaged or no safetensors file"):
        load_operator(tmp_path / "noise")
    save_file({"weight": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(eq.EqlinError, match="holds no steering operator"):
        load_operator(tmp_path / "weights.safetensors")
    save_file({"J": torch.zeros(2, 3, 3)}, tmp_path / "half.safetensors", metadata=operator().header())
    with pytest.raises(eq.EqlinError, match="do not agree"):
        load_operator(tmp_path / "half.safetensors")
    for wrong in (
        {"layers": "0"},
        {"block": "-1"},
        {"token_ids": "[9, 4, -31]"},
        {"token_ids": "[]"},
        {"tokens": "[]"},
        {"layers": "two"},
    ):
        arrays = {"J": operator().J, "inputs": operator().inputs}
        save_file(arrays, tmp_path / "odd.safetensors", metadata=operator().header() | wrong)
        with pytest.raises(eq.EqlinError, match="do not agree"):
            load_operator(tmp_path / "odd.safetensors")
    for J, message in ((operator().J / 0, "not finite"), (operator().J.long(), "do not agree")):
        save_file({"J": J, "inputs": operator().inputs}, tmp_path / "odd.safetensors", metadata=operator().header())
        with pytest.raises(eq.EqlinError, match=message):
            load_operator(tmp_path / "odd.safetensors")
    with pytest.raises(eq.EqlinError, match="cannot be written"):
        operator().save(tmp_path / "no folder" / "op.safetensors")


def test_the_control_has_every_singular_value_in_other_directions() -> None:
    control = random_operator(operator(), seed=3)
    torch.testing.assert_close(torch.linalg.svdvals(control.J), torch.linalg.svdvals(operator().J))
    joint = [torch.linalg.svdvals(op.J.permute(1, 0, 2).flatten(1)) for op in (control, operator())]
    torch.testing.assert_close(joint[0], joint[1])
    assert operator_angle(control, operator()) > 60
    assert torch.equal(random_operator(operator(), seed=3).J, control.J)


def test_the_angle_between_operators() -> None:
    op = operator()
    assert operator_angle(op, op) == pytest.approx(0.0, abs=1e-5)
    assert operator_angle(op, replace(op, J=-op.J)) == pytest.approx(180.0, abs=1e-5)
    doubled = replace(op, J=op.J.repeat(2, 1, 1), inputs=op.inputs.repeat(2, 1))
    assert operator_angle(op, doubled) == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(eq.EqlinError, match="different widths"):
        operator_angle(op, replace(op, J=torch.zeros(3, 4, 4), inputs=torch.zeros(3, 4)))


def test_the_depth_is_two_thirds_unless_given() -> None:
    assert steering_operator(lm(), token_ids=CONCEPT).layers == 2
    assert steering_operator(lm(), token_ids=[5]).J.shape == (1, 32, 32)


@pytest.mark.parametrize("layers", [0, -1, 4, 100])
def test_a_depth_that_does_not_exist_is_refused(layers: int) -> None:
    with pytest.raises(eq.EqlinError, match=f"A depth of {layers} blocks does not exist: choose 1 to 3"):
        steering_operator(lm(), token_ids=CONCEPT, layers=layers)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(eq.EqlinError, match="Block 7 does not exist"):
        steering_operator(lm(), token_ids=CONCEPT, layers=2, block=7)
    with pytest.raises(eq.EqlinError, match="no tokens"):
        steering_operator(lm(), token_ids=[])
    with pytest.raises(eq.EqlinError, match="gated_path"):
        steering_operator(lm(), token_ids=CONCEPT, layers=2, gated_path="down")


def test_making_an_operator_can_be_cancelled() -> None:
    with pytest.raises(eq.Cancelled):
        steering_operator(lm(), token_ids=CONCEPT, layers=2, progress=lambda part, message: False)
