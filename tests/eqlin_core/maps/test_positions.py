"""Maps of several output positions from one recording, against recordings of their own."""

from __future__ import annotations

import gc
import weakref
from unittest import mock

import pytest
import torch

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from eqlin_core.freezing.network import FrozenNetwork
from tests.cases import PROMPT

POSITIONS = [3, -1, 0, 7]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "mixtral"])
@pytest.mark.parametrize("attention", ["held", "half"])
def test_they_are_the_maps_that_each_position_has_by_itself(family: str, attention: str) -> None:
    lm = tiny_model(family)
    maps = eq.linearize(lm, token_ids=PROMPT, attention=attention).positions(POSITIONS)
    for position, found in zip(POSITIONS, maps, strict=True):
        alone = eq.linearize(lm, token_ids=PROMPT, position=position, attention=attention)
        assert found.position == position % len(PROMPT)
        for name in ("output", "bias"):
            torch.testing.assert_close(getattr(found, name), getattr(alone, name), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found.contributions(), alone.contributions(), rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(found.bias, alone.bias, rtol=1e-12, atol=1e-14)
        assert found.contributions()[found.position + 1 :].abs().sum() == 0
        assert found.exactness().exact
    alone = eq.linearize(lm, token_ids=PROMPT, position=3, attention=attention)
    torch.testing.assert_close(maps[0].jacobian(), alone.jacobian(), rtol=1e-11, atol=1e-13)


def test_one_recording_one_batch_and_one_stock_pass_serve_all() -> None:
    lm = tiny_model("llama")
    lin = eq.linearize(lm, token_ids=PROMPT)
    replay, rows = FrozenNetwork.replay, []

    def counted(network: FrozenNetwork, v: torch.Tensor, first: int = 0) -> torch.Tensor:
        rows.append(len(v))
        return replay(network, v, first)

    with (
        mock.patch.object(FrozenNetwork, "replay", counted),
        mock.patch.object(FrozenNetwork, "_record", side_effect=AssertionError("recorded again")),
        mock.patch("eqlin_core.maps.linear_map._stock_value", wraps=_stock_value()) as stock,
    ):
        maps = lin.positions(range(len(PROMPT)))
        for found in maps:
            found.contributions()
            assert found.exactness().exact
    assert sum(rows) <= len(PROMPT) + 2
    assert stock.call_count == 1


def _stock_value() -> object:
    from eqlin_core.maps import linear_map

    return linear_map._stock_value


def test_a_map_goes_with_its_last_user() -> None:
    maps = eq.linearize(tiny_model("llama"), token_ids=PROMPT).positions([2, 4])
    maps[0].contributions()
    gone = weakref.ref(maps[1])
    gc.disable()
    try:
        del maps
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("positions", [[11], [-12]])
def test_positions_that_are_not_there_are_refused(positions: list[int]) -> None:
    lin = eq.linearize(tiny_model("llama"), token_ids=PROMPT)
    with pytest.raises(eq.EqlinError):
        lin.positions(positions)


def test_no_position_is_no_map() -> None:
    assert eq.linearize(tiny_model("llama"), token_ids=PROMPT).positions([]) == []


@pytest.mark.parametrize("family", ["llama", "mixtral", "gpt2"])
@pytest.mark.parametrize("convention", [eq.Convention(), eq.Convention("gate"), eq.Convention("half", "half")])
def test_a_run_of_a_position_is_that_of_the_text_up_to_it(family: str, convention: eq.Convention) -> None:
    lm, position = tiny_model(family), 4
    (shared,) = eq.linearize(lm, token_ids=PROMPT, **convention.keywords).positions([position])
    alone = eq.linearize(lm, token_ids=PROMPT[: position + 1], **convention.keywords)
    found, wanted = (eq.token_run(lin, "made up") for lin in (shared, alone))
    assert found.key == wanted.key
    assert found.tokens == wanted.tokens
    assert [t.token_id for t in found.targets] == [t.token_id for t in wanted.targets]
    for name in ("inputs", "output", "bias", "contributions", "expected"):
        torch.testing.assert_close(
            torch.from_numpy(getattr(found, name)), torch.from_numpy(getattr(wanted, name)), rtol=1e-6, atol=1e-9
        )
    assert [t.probability for t in found.targets] == pytest.approx([t.probability for t in wanted.targets], rel=1e-6)
    assert found.exactness is not None
    assert found.exactness.exact
