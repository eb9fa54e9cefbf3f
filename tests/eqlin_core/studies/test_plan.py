"""What a study is planned to take: sizes as people read them, and passes over few tokens, which read all weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eqlin_core.models import readout
from eqlin_core.resources import plan as resources
from eqlin_core.resources.plan import size_text
from eqlin_core.studies import measures
from eqlin_core.studies.study import plan_study, run_study
from tests.cases import family


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 KiB"), (1, "1 KiB"), (18_623, "18 KiB"), (1 << 20, "1 MiB"), (3 << 19, "1.5 MiB"), (3 << 29, "1.5 GiB")],
)
def test_a_size_is_a_number_that_people_read(size: int, said: str) -> None:
    assert size_text(size) == said


def test_prompts_one_by_one_are_planned_to_take_longer_than_together(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = family("llama")
    monkeypatch.setattr(resources, "product_rate", lambda *_: 1e6)  # so that blocks are not what a pass waits for
    prompts = [[n, n + 1, n + 2] for n in range(20)]
    together = plan_study(prompts, lm)
    monkeypatch.setattr("eqlin_core.studies.plan.PACK_TOKENS", 1)
    alone = plan_study(prompts, lm)
    assert together.seconds < alone.seconds / 4
    monkeypatch.setattr(resources, "product_rate", lambda *_: 1e18)
    few = plan_study(prompts[:1], lm)
    assert few.seconds >= 5e-3 * lm.n_layers, "no device is faster than it is told what to do"


@pytest.mark.parametrize("logits", [1, 1 << 24])
def test_what_blocks_read_as_comes_from_as_few_runs_of_the_model_as_memory_allows(
    logits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = family("llama")
    looks: list[int] = []

    def counted(own: Any, rows: Any) -> Any:
        looks.append(len(rows))
        return readout.next_token_logits(own, rows)

    monkeypatch.setattr(measures, "_LOGITS", logits)
    monkeypatch.setattr(measures, "next_token_logits", counted)
    found = run_study([[1, 2, 3], [4, 5, 6]], lm, tmp_path / "s", ["layers"])
    assert looks == [2, *([2] * lm.n_layers if logits == 1 else [2 * lm.n_layers])]
    assert found.layers["layer"].tolist() == [*range(lm.n_layers)] * 2
    last = found.layers[found.layers["layer"] == lm.n_layers - 1]
    assert last["top_id"].tolist() == found.prompts["predicted_id"].tolist()
