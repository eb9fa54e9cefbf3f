"""A study of many prompts: the numbers of the engine itself, tables that survive what happens to them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import eqlin_core as eq
from eqlin_core.analysis.faithfulness import leave_one_out_run
from eqlin_core.audit.architectures import tiny_architecture
from eqlin_core.errors import Cancelled
from eqlin_core.models.readout import next_token_logits
from eqlin_core.studies import notes, tables
from eqlin_core.studies.executors import Here
from eqlin_core.studies.measures import MEASURES
from eqlin_core.studies.reading import load_study
from eqlin_core.studies.study import plan_study, run_study
from eqlin_core.studies.tables import COLUMNS, KEY
from tests.cases import family
from tests.eqlin_core.odd_calls import tiny_with_text
from tests.eqlin_core.studies.study_cases import PROMPTS, same_rows, saved_model

ROOT = Path(__file__).resolve().parents[3]
IDS: list[Any] = [[9, 4, 31, 7, 2], [3, 8, 1], [11, 5, 6, 30, 12], [9, 9, 2], [40]]
FEW = PROMPTS[:12]
CHEAP = ("exactness", "contributions", "layers", "heads")


@pytest.mark.parametrize("name", ["llama", *(pytest.param(n, marks=pytest.mark.slow) for n in ("gpt2", "mixtral"))])
def test_its_numbers_are_those_of_each_prompt_s_own_map(name: str, tmp_path: Path) -> None:
    lm = family(name)
    found = run_study(IDS, lm, tmp_path / "s", ["exactness", "contributions", "spectra", "layers", "heads"], k=2)
    assert found.info["state"] == "finished"
    assert len(found.prompts) == len(IDS)
    for ids, (_, row) in zip(IDS, found.prompts.iterrows(), strict=True):
        lin = eq.linearize(lm, token_ids=ids)
        logits = next_token_logits(lm, lin.stock()[-1:])[0].double()
        best = int(logits.argmax())
        assert row["predicted_id"] == best
        assert row["n_tokens"] == len(ids)
        assert row["exact"]
        assert row["log_probability"] == pytest.approx(float(logits.log_softmax(-1)[best]))
        terms, bias = lin.logit_split([best])
        tokens = found.tokens[found.tokens["key"] == row["key"]]
        assert tokens["token_id"].tolist() == ids
        np.testing.assert_allclose(tokens["term"], terms[0], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(tokens["norm"], lin.contributions().norm(dim=-1), rtol=1e-8)
        assert row["bias_term"] == pytest.approx(float(bias[0]))
        log_terms = lin.logit_split(eq.direction(lin, best, "log-probability")[None])[0][0]
        # its distribution is the untouched model's own, whose norms go through float32
        np.testing.assert_allclose(tokens["log_term"], log_terms, rtol=1e-4, atol=1e-5)
        spectra = eq.spectrum(lin, 2)
        np.testing.assert_allclose(tokens["sigma_1"], spectra.S[:, 0], rtol=1e-8)
        np.testing.assert_allclose(tokens["stable_rank"], spectra.stable_rank, rtol=1e-8)
        triplets = found.triplets[found.triplets["key"] == row["key"]]
        assert triplets["rank"].tolist() == [1, 2] * len(ids)
        np.testing.assert_allclose(triplets["sigma"], spectra.S.flatten(), rtol=1e-8)
        written = eq.read_output(lm, spectra.U[0].mT, 8)[0]
        assert triplets["writes"].iloc[0].tolist() == [token for token, _ in written]
        parts = eq.direct_contributions(lin, lm.unembedding[[best]])
        layers = found.layers[found.layers["key"] == row["key"]]
        np.testing.assert_allclose(
            layers["attn_term"], parts.attn[0].sum(-1) + parts.attn_bias[0], rtol=1e-7, atol=1e-9
        )
        np.testing.assert_allclose(layers["mlp_term"], parts.mlp[0].sum(-1) + parts.mlp_bias[0], rtol=1e-7, atol=1e-9)
        heads = found.heads[found.heads["key"] == row["key"]]
        assert len(heads) == parts.heads.shape[1] * parts.heads.shape[2]
        expected = parts.heads[0].sum(-1) + parts.head_bias[0]
        np.testing.assert_allclose(heads["term"], expected.flatten(), rtol=1e-7, atol=1e-9)
        assert layers["predicted_rank"].iloc[-1] == 1
        assert layers["predicted_log_probability"].iloc[-1] == pytest.approx(row["log_probability"], rel=1e-5)


def test_prompts_that_go_together_give_what_they_give_alone(tmp_path: Path) -> None:
    lm = family("llama")
    together = run_study(IDS, lm, tmp_path / "together", CHEAP)
    for n, ids in enumerate(IDS):
        alone = run_study([ids], lm, tmp_path / str(n), CHEAP)
        key = alone.prompts["key"].iloc[0]
        for name in ("prompts", "tokens", "layers", "heads"):
            whole = together.table(name)
            same_rows(whole[whole["key"] == key].reset_index(drop=True), alone.table(name), close=1e-9)


def test_a_model_whose_prompts_cannot_go_together_is_measured_one_by_one(tmp_path: Path) -> None:
    lm = tiny_architecture("mamba2")
    found = run_study(IDS, lm, tmp_path / "s", CHEAP)
    assert found.prompts["exact"].all()
    assert found.prompts["bias_term"].notna().all()
    assert all("Layers: " in sentence for sentence in found.failures.values()), "it has no attention"
    assert len(found.failures) == len(IDS)


def test_what_the_model_does_is_measured_beside(tmp_path: Path) -> None:
    lm = tiny_with_text()
    prompts = [{"prompt": "the bridge", "concept": "café"}, {"prompt": "bridge the"}]
    found = run_study(prompts, lm, tmp_path / "s", ["faithfulness", "steering"], strengths=[0, 1], new_tokens=2)
    assert list(found.failures) == [found.prompts["key"].iloc[1]]
    assert (
        found.prompts["error"].iloc[1]
        == "Steering: No concept steers this prompt: name one, or give a column 'concept'."
    )
    assert found.strengths["strength"].tolist() == [0.0, 1.0]
    assert found.strengths["divergence"].iloc[0] == 0
    assert found.strengths["divergence"].iloc[1] > 0
    falls = leave_one_out_run(eq.linearize(lm, "the bridge"), [int(found.prompts["predicted_id"].iloc[0])])
    own = found.tokens[found.tokens["key"] == found.prompts["key"].iloc[0]]
    np.testing.assert_allclose(own["fall"], falls.log_probabilities[:, 0], rtol=1e-6, atol=1e-9)
    best = found.methods[found.methods["method"] == "leave-one-out"]["rank_agreement"]
    assert best.dropna().tolist() == [1.0] * int(best.notna().sum())
    assert best.notna().any()


def test_columns_of_the_prompts_come_along_with_their_types(tmp_path: Path) -> None:
    prompts = [
        {"prompt": "the", "kind": "short", "n": 1, "share": 0.5, "good": True, "seconds": 7, "odd": [1, "a"]},
        {"prompt": "the bridge", "kind": None, "n": 2, "share": 1, "good": False, "seconds": 8},
    ]
    found = run_study(prompts, tiny_with_text(), tmp_path / "s").prompts
    assert found["kind"].tolist()[0] == "short"
    assert found["kind"].isna().tolist() == [False, True]
    assert found["n"].tolist() == [1, 2]
    assert found["share"].tolist() == [0.5, 1.0]
    assert found["good"].tolist() == [True, False]
    assert found["given_seconds"].tolist() == [7, 8]
    assert found["odd"].iloc[0] == '[1, "a"]'
    assert (found["seconds"] > 0).all()


def test_columns_keep_their_types_where_values_are_missing_or_come_later(tmp_path: Path) -> None:
    lm = tiny_with_text()
    day = date(2020, 1, 2)
    prompts = [
        {"prompt": "the", "n": None, "share": 1, "day": day, "model": "a", "given_model": "b", 5: 1},
        {"prompt": "bridge", "n": 7, "share": 0.5, "day": None, "odd": "\ud800"},
    ]
    for chosen in (prompts, prompts[:1]):  # the second brings whole numbers alone
        found = run_study(chosen, lm, tmp_path / "s", ["contributions"]).prompts
        assert found["n"].isna().tolist() == [True, False]
        assert found["n"].iloc[1] == 7
        assert found["share"].tolist() == [1.0, 0.5]
        assert found["day"].iloc[0] == "2020-01-02"
        assert (found["given_model"].iloc[0], found["given_given_model"].iloc[0]) == ("b", "a")
        assert found["5"].iloc[0] == 1
        assert found["odd"].iloc[1] == "?"


def test_a_prompt_that_fails_is_a_row_with_its_sentence(tmp_path: Path) -> None:
    lm = family("llama")
    found = run_study([[1, 2], [10**6, 1], [3, 4]], lm, tmp_path / "s", CHEAP)
    errors = found.prompts["error"].tolist()
    assert found.prompts["error"].isna().tolist() == [True, False, True]
    assert "1000000" in errors[1]
    assert found.prompts["exact"].notna().tolist() == [True, False, True]
    assert list(found.failures.values()) == [errors[1]]


def test_one_of_a_batch_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from eqlin_core.studies import measures

    real = measures.linearize_together

    def failing(lm: Any, ids: Any, **options: Any) -> Any:
        if (3, 4) in ids:
            raise eq.EqlinError("No room.")
        return real(lm, ids, **options)

    monkeypatch.setattr(measures, "linearize_together", failing)
    found = run_study([[1, 2], [3, 4], [5, 6]], family("llama"), tmp_path / "s", CHEAP)
    assert list(found.failures.values()) == ["No room."]
    assert found.prompts["error"].isna().tolist() == [True, False, True]
    assert found.prompts["exact"].notna().tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "Spectra: There is not enough memory for this"),
        (torch.linalg.LinAlgError("failed to converge"), "Spectra: Its matrix has no singular values"),
    ],
)
def test_what_no_device_can_do_is_a_sentence_of_the_prompt(
    error: Exception, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("eqlin_core.studies.measures.spectrum", failing)
    found = run_study([[1, 2]], family("llama"), tmp_path / "s", ["contributions", "spectra"])
    assert found.prompts["error"].iloc[0].startswith(sentence)
    assert found.tokens["term"].notna().all()


def test_a_measure_that_has_no_memory_for_many_prompts_takes_each_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eqlin_core.studies import measures

    real = measures.MapsTogether.contributions

    def failing(maps: Any, progress: Any = None) -> Any:
        if len(maps) > 1:
            raise eq.EqlinError("No room.") from MemoryError()
        return real(maps, progress)

    monkeypatch.setattr(measures.MapsTogether, "contributions", failing)
    found = run_study([[1, 2], [3, 4]], family("llama"), tmp_path / "s", ["contributions"])
    assert not found.failures
    assert found.tokens["term"].notna().all()


# ---- resuming --------------------------------------------------------------------------------------------------------


def test_what_was_cancelled_goes_on_and_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eqlin_core.studies.plan.PACK_TOKENS", 6)
    lm = tiny_with_text()
    whole = run_study(FEW, lm, tmp_path / "whole", CHEAP)
    with pytest.raises(Cancelled):
        run_study(FEW, lm, tmp_path / "s", CHEAP, progress=lambda fraction, _: (fraction or 0) < 0.5)
    left = load_study(tmp_path / "s")
    assert left.info["state"] == "cancelled"
    assert 0 < len(left.prompts) < len(FEW)
    same_rows(left.tokens, whole.tokens[whole.tokens["key"].isin(left.prompts["key"])].reset_index(drop=True))
    plans: list[Any] = []
    run_study(FEW, lm, tmp_path / "s", CHEAP, on_plan=plans.append)
    assert plans[0].there == len(left.prompts)
    assert plans[0].prompts == len(FEW) - len(left.prompts)
    found = load_study(tmp_path / "s")
    for name in ("prompts", "tokens", "layers", "heads"):
        same_rows(found.table(name), whole.table(name))
    assert not (tmp_path / "s" / "parts").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from eqlin_core.studies import plan, tables
from eqlin_core.studies.study import run_study
from tests.eqlin_core.studies.study_cases import PROMPTS
plan.PACK_TOKENS = 6
written = tables.write_whole
count = 0
def counted(path, content, **options):
    global count
    written(path, content, **options)
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
tables.write_whole = counted
run_study(PROMPTS, sys.argv[1], sys.argv[2], ("exactness", "contributions", "layers"))
"""


@pytest.mark.parametrize("after", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 12, -2))])
def test_kill_9_anywhere_and_a_second_start_ends_with_the_same_tables(after: int, tmp_path: Path) -> None:
    model = saved_model(tmp_path / "tiny")
    measures = ("exactness", "contributions", "layers")
    whole = run_study(PROMPTS, str(model), tmp_path / "whole", measures)
    parts = _parts_of(whole)
    files = 3 * parts + 3  # tables of every part, and at the end
    number = after if after > 0 else files + 1 + after
    command = [sys.executable, "-c", KILLED, str(model), str(tmp_path / "s"), str(number)]
    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert load_study(tmp_path / "s").info["state"] == "running"
    found = run_study(PROMPTS, str(model), tmp_path / "s", measures)
    for name in ("prompts", "tokens", "layers"):
        same_rows(found.table(name), whole.table(name), close=1e-6)


def _parts_of(study: Any) -> int:
    """How many packs of six tokens its prompts are."""
    lengths = study.prompts["n_tokens"].value_counts()
    return sum(-(-int(count) // max(1, 6 // int(length))) for length, count in lengths.items())


def test_a_finished_study_takes_more_prompts_and_models(tmp_path: Path) -> None:
    lm = tiny_with_text()
    first = run_study(PROMPTS[:3], lm, tmp_path / "s", CHEAP)
    seconds = first.prompts["seconds"].tolist()
    other = tiny_with_text()
    other.name = "another"
    plans: list[Any] = []
    more = run_study([PROMPTS[5], *PROMPTS[:3]], lm, tmp_path / "s", CHEAP, on_plan=plans.append)
    assert [(p.there, p.prompts) for p in plans] == [(3, 1)]
    assert more.prompts["prompt"].tolist() == [PROMPTS[5], *PROMPTS[:3]]
    assert more.prompts["seconds"].tolist()[1:] == seconds, "not computed again"
    kept = run_study(PROMPTS[:1], lm, tmp_path / "s", CHEAP)
    assert len(kept.prompts) == 4, "what a shorter list leaves out stays"
    both = run_study(PROMPTS[:1], [lm, other], tmp_path / "s", CHEAP)
    assert both.prompts["model"].tolist() == [lm.name] * 4 + [other.name]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"measures": ["exactness"]}, "has measures .* ask for the same, or name another folder"),
        ({"attention": "half"}, "has attention 'held', not 'half'"),
    ],
)
def test_another_study_is_not_mixed_in(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    lm = tiny_with_text()
    run_study(PROMPTS[:1], lm, tmp_path / "s", ["contributions"])
    before = sorted(path.name for path in (tmp_path / "s").iterdir())
    with pytest.raises(eq.EqlinError, match=sentence):
        run_study(PROMPTS[:2], lm, tmp_path / "s", **({"measures": ["contributions"]} | change))
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == before
    assert len(load_study(tmp_path / "s").prompts) == 1


def test_a_folder_that_holds_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"x")
    with pytest.raises(eq.EqlinError, match="The folder photos holds other things: name a new one"):
        run_study(PROMPTS[:1], tiny_with_text(), tmp_path / "photos")
    (tmp_path / "file").write_text("x")
    with pytest.raises(eq.EqlinError, match=r"file is no folder for a study \(Not a directory\)"):
        run_study(PROMPTS[:1], tiny_with_text(), tmp_path / "file")
    with pytest.raises(eq.EqlinError, match="holds no study"):
        load_study(tmp_path / "photos")


def test_two_processes_do_not_write_into_one_folder(tmp_path: Path) -> None:
    lm = tiny_with_text()

    def second(_fraction: Any, _message: str) -> None:
        with pytest.raises(eq.EqlinError, match="Another process runs a study in s"):
            run_study(PROMPTS[:1], lm, tmp_path / "s")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(PROMPTS[:1], lm, tmp_path / "s", progress=second)
    assert load_study(tmp_path / "s").info["state"] == "cancelled"


@pytest.mark.parametrize("damage", [b"", b"PAR1 not a table", b"{}"])
def test_a_damaged_study_is_refused_in_a_sentence(damage: bytes, tmp_path: Path) -> None:
    run_study(PROMPTS[:1], tiny_with_text(), tmp_path / "s")
    for name, sentence in (
        ("prompts.parquet", "The table prompts in s cannot be read"),
        ("study.json", "study.json in s"),
    ):
        content = (tmp_path / "s" / name).read_bytes()
        (tmp_path / "s" / name).write_bytes(damage)
        with pytest.raises(eq.EqlinError, match=sentence):
            load_study(tmp_path / "s").table("prompts")
        (tmp_path / "s" / name).write_bytes(content)


def test_a_kill_between_the_end_and_the_removal_of_the_parts_doubles_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_with_text()
    with monkeypatch.context() as patched:
        patched.setattr(tables.Parts, "clear", lambda parts: next(parts._parts.glob("*.parquet")).unlink())
        first = run_study(PROMPTS[:3], lm, tmp_path / "s", ["contributions"])
    assert (tmp_path / "s" / "parts").exists()
    same_rows(first.prompts, load_study(tmp_path / "s").prompts)
    assert len(first.prompts) == 3, "the parts, of which some are gone, do not count"
    more = run_study(PROMPTS[:4], lm, tmp_path / "s", ["contributions"])
    assert more.prompts["prompt"].tolist() == PROMPTS[:4]
    same_rows(more.tokens.head(len(first.tokens)), first.tokens)


def test_a_kill_while_finished_files_become_a_part_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_with_text()
    first = run_study(PROMPTS[:2], lm, tmp_path / "s", ["contributions"])
    (tmp_path / "s" / "parts").mkdir()
    (tmp_path / "s" / "tokens.parquet").rename(tmp_path / "s" / "parts" / "whole.tokens.parquet")
    same_rows(load_study(tmp_path / "s").tokens, first.tokens)
    more = run_study(PROMPTS[:3], lm, tmp_path / "s", ["contributions"])
    assert len(more.prompts) == 3
    same_rows(more.tokens.head(len(first.tokens)), first.tokens)


def test_tables_without_parts_are_kept_whatever_the_notes_say(tmp_path: Path) -> None:
    lm = tiny_with_text()
    first = run_study(PROMPTS[:2], lm, tmp_path / "s", ["contributions"])
    notes = tmp_path / "s" / "study.json"  # as one that was downloaded while it ran
    notes.write_text(notes.read_text("utf-8").replace('"finished"', '"running"'), "utf-8")
    plans: list[Any] = []
    again = run_study(PROMPTS[:2], lm, tmp_path / "s", ["contributions"], on_plan=plans.append)
    assert plans[0].there == 2
    assert again.prompts["seconds"].tolist() == first.prompts["seconds"].tolist()


def test_another_process_that_ends_before_the_lock_is_had_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny_with_text()
    real = notes.Notes.held

    def later(own: Any) -> Any:
        monkeypatch.setattr(notes.Notes, "held", real)
        run_study(PROMPTS[:2], lm, tmp_path / "s", ["contributions"])
        return real(own)

    monkeypatch.setattr(notes.Notes, "held", later)
    found = run_study(PROMPTS[2:3], lm, tmp_path / "s", ["contributions"])
    assert sorted(found.prompts["prompt"]) == sorted(PROMPTS[:3])


def test_who_reads_while_a_study_ends_sees_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_with_text()
    seen: list[int] = []
    real = tables.Parts.end

    def looked(parts: Any, order: Any) -> None:
        before = load_study(tmp_path / "s")
        monkeypatch.setattr(before, "_read", lambda name: parts.rows(name, order).to_pandas())
        there = parts._there

        def ends() -> list[str]:  # between the look for files and the look for parts
            monkeypatch.setattr(parts, "_there", there)
            real(parts, order)
            monkeypatch.setattr(parts, "_there", list)
            return []

        monkeypatch.setattr(parts, "_there", ends)
        seen.append(len(before.prompts))
        monkeypatch.setattr(parts, "_there", there)

    monkeypatch.setattr(tables.Parts, "end", looked)
    run_study(PROMPTS[:3], lm, tmp_path / "s", ["contributions"])
    assert seen == [3]


def test_a_model_that_is_not_there_leaves_the_study_and_a_new_folder_as_they_were(tmp_path: Path) -> None:
    lm = tiny_with_text()
    for folder in ("new", "s"):
        if folder == "s":
            run_study(PROMPTS[:1], lm, tmp_path / "s", dtype="float64")
        with pytest.raises(eq.EqlinError, match="no-such-model-anywhere"):
            run_study(PROMPTS[:1], "no-such-model-anywhere", tmp_path / folder, dtype="float64")
    assert load_study(tmp_path / "s").info["state"] == "finished"
    assert (tmp_path / "s" / "prompts.parquet").exists()
    assert len(run_study(PROMPTS[:1], lm, tmp_path / "new").prompts) == 1, "the folder is no other thing's"


def test_a_study_that_an_error_ends_does_not_say_that_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tables, "write_whole", full)
        with pytest.raises(eq.EqlinError, match=r"The study in s cannot be written \(No space left on device\)"):
            run_study(PROMPTS[:1], tiny_with_text(), tmp_path / "s", ["contributions"])
    assert load_study(tmp_path / "s").info["state"] == "cancelled"


def test_workers_elsewhere_end_with_the_study_that_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []

    class Elsewhere:
        def measured(self, *given: Any) -> Any:
            try:
                yield from Here().measured(*given)
            finally:
                ended.append(1)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tables.Parts, "add", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        run_study(PROMPTS[:2], tiny_with_text(), tmp_path / "s", workers=Elsewhere())
    assert ended
    assert caught.traceback, "which would keep them"


def test_a_key_that_stands_for_another_prompt_is_refused(tmp_path: Path) -> None:
    lm = tiny_with_text()
    run_study([{"prompt": "the", "key": 1}], lm, tmp_path / "s", ["contributions"])
    other = [{"prompt": "bridge", "key": 1}]
    for ask in (run_study, plan_study):
        with pytest.raises(eq.EqlinError, match="The key '1' is that of another prompt in s: give"):
            ask(other, lm, tmp_path / "s", ["contributions"])
    assert load_study(tmp_path / "s").prompts["prompt"].tolist() == ["the"]


def test_a_damaged_part_says_what_to_remove(tmp_path: Path) -> None:
    lm = tiny_with_text()
    with pytest.raises(Cancelled):
        run_study(PROMPTS[:3], lm, tmp_path / "s", progress=lambda fraction, _: (fraction or 0) < 0.9)
    for part in (tmp_path / "s" / "parts").glob("*.prompts.parquet"):
        part.write_bytes(b"PAR1")
    with pytest.raises(eq.EqlinError, match=r"cannot be read: remove \w+\.\* from its folder parts"):
        run_study(PROMPTS[:3], lm, tmp_path / "s")


@pytest.mark.parametrize("change", [{"keys": [[1]]}, {"models": [1]}, {"columns": {"a": "date"}}])
def test_notes_of_other_kinds_are_refused_in_a_sentence(change: Any, tmp_path: Path) -> None:
    run_study(PROMPTS[:1], tiny_with_text(), tmp_path / "s", ["contributions"])
    file = tmp_path / "s" / "study.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(eq.EqlinError, match=r"study\.json in s is not that of a study"):
        load_study(tmp_path / "s")


def test_a_table_of_something_else_is_refused_in_a_sentence(tmp_path: Path) -> None:
    run_study(PROMPTS[:1], tiny_with_text(), tmp_path / "s", ["contributions"])
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "s" / "prompts.parquet")
    with pytest.raises(eq.EqlinError, match="The table prompts in s cannot be read"):
        load_study(tmp_path / "s").table("prompts")


# ---- plans -----------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_it_takes_and_computes_nothing(tmp_path: Path) -> None:
    lm = tiny_with_text()
    plan = plan_study(PROMPTS, lm, tmp_path / "s", measures=MEASURES, concept="the")
    assert not (tmp_path / "s").exists()
    assert plan.sentence().startswith(f"{lm.name} in float64: {len(PROMPTS)} prompts of ")
    assert len(plan.packs) == len(PROMPTS), "one by one"
    assert len(plan_study(PROMPTS, lm, measures=CHEAP).packs) < 8
    run_study(PROMPTS[:5], lm, tmp_path / "s", CHEAP)
    after = plan_study(PROMPTS, lm, tmp_path / "s", measures=CHEAP)
    assert (after.there, after.prompts) == (5, len(PROMPTS) - 5)
    assert ", 5 are there already" in after.sentence()


def test_tables_hold_what_their_description_says(tmp_path: Path) -> None:
    found = run_study(
        PROMPTS[:2], tiny_with_text(), tmp_path / "s", MEASURES, concept="the", new_tokens=1, strengths=[1]
    )
    for name, columns in COLUMNS.items():
        assert list(found.table(name).columns) == [*KEY, *columns]
        assert len(found.table(name)) > 0
    assert set(COLUMNS) == set(tables.TABLES)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"measures": []}, "measures is"),
        ({"measures": ["heights"]}, "A measure is 'exactness', .* not 'heights'"),
        ({"models": []}, "models is a list of models"),
        ({"k": 0}, "k is a whole number from 1 on"),
        ({"strengths": []}, "strengths is a list of at least one number"),
        ({"prompts": "nowhere.txt"}, "cannot be read .* no list has that name"),
        ({"prompts": []}, "prompts"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_folder_is_made(given: Any, sentence: str, tmp_path: Path) -> None:
    whole = {"prompts": PROMPTS[:1], "models": tiny_with_text(), "out": tmp_path / "s"} | given
    with pytest.raises(eq.EqlinError, match=sentence):
        run_study(**whole)
    assert not (tmp_path / "s").exists()
