"""A study: many prompts by one or several models, measured into tables that a killed run leaves whole and resumes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.models.loading import load_model
from eqlin_core.progress import Progress, part, report, shown
from eqlin_core.runs.convention import Convention, Share
from eqlin_core.studies.behaviour import Behaviour
from eqlin_core.studies.executors import Here, Workers
from eqlin_core.studies.measures import MEASURES, Asked, failed
from eqlin_core.studies.notes import CANCELLED, FINISHED, Notes
from eqlin_core.studies.plan import ModelPlan, plan_model
from eqlin_core.studies.prompts import StudyPrompt, study_prompts
from eqlin_core.studies.reading import Study
from eqlin_core.studies.tables import Parts


def run_study(
    prompts: str | Path | Iterable[Any],
    models: str | LanguageModel | Sequence[str | LanguageModel],
    out: str | Path,
    measures: Sequence[str] = ("exactness", "contributions"),
    *,
    dtype: str = "float32",
    device: str = "auto",
    gated_path: Share = "up",
    attention: Share = "held",
    k: int = 8,
    deletion: str = "mean",
    concept: str = "",
    strengths: Sequence[int | float] = (0.0, 0.5, 1.0),
    new_tokens: int = 12,
    workers: Workers | None = None,
    name: str = "",
    progress: Progress | bool | None = None,
    on_plan: Callable[[ModelPlan], Any] | None = None,
) -> Study:
    """Measure every prompt with every model into Parquet tables in the folder ``out``, and open them.

    ``prompts`` as ``study_prompts`` takes them; ``models`` are names, folders or loaded models; ``measures`` some of
    ``MEASURES``. A prompt that fails is a row with its sentence. What is there already is not computed again: a study
    that was killed or cancelled goes on where it was, and one that is finished takes more prompts and models, if
    everything else is as it was. ``workers`` compute elsewhere (`RayWorkers`); ``name`` is what the study calls its
    prompts, the file's name unless given; ``on_plan`` is told what every model is to do before it begins.
    Raises EqlinError for a folder that holds something else or another study, and for prompts and measures that are
    none; ``Cancelled`` as ``progress`` says: what was computed is kept.
    """
    asked = _asked(measures, gated_path, attention, k, deletion, concept, strengths, new_tokens)
    arguments.called("progress", progress, shows=True)
    arguments.called("on_plan", on_plan)
    arguments.text("name", name)
    if workers is not None:
        arguments.instance("workers", workers, Workers, "workers such as RayWorkers, or None")
    one = isinstance(models, str | LanguageModel)
    several: list[Any] = [models] if one else arguments.several("models", models, "a list of models", least=1)
    folder, chosen = arguments.path("out", out), study_prompts(prompts)
    named = name or (str(prompts) if isinstance(prompts, str | Path) else "")
    loaded = {dtype_name(m.dtype) for m in several if isinstance(m, LanguageModel)}
    if len(loaded) > 1:
        raise InvalidValue(f"The models are in {' and '.join(sorted(loaded))}: a study is of one precision.")
    notes = Notes(folder, chosen, _settings(asked, loaded.pop() if loaded else _name_of(dtype)), Path(named).name)
    with notes.held(), shown(progress) as told:
        chosen = notes.typed()
        parts = Parts(folder, notes.columns)
        parts.require_same(chosen)
        begun = False
        try:
            for n, model in enumerate(several):
                within = part(told, n / len(several), (n + 1) / len(several))
                lm = model if isinstance(model, LanguageModel) else load_model(model, dtype, device, progress=within)
                if not begun:  # what was there stays as it is until there is a model
                    notes.begin()
                    parts.resume(finished=notes.was_finished)
                    begun = True
                source = "" if isinstance(model, LanguageModel) else str(model)
                _run(lm, source, chosen, asked, notes, parts, workers or Here(), within, on_plan)
            parts.end(notes.order)
        except BaseException:  # it is not running any more, whatever ended it
            if begun:
                with contextlib.suppress(EqlinError):
                    notes.write(CANCELLED, parts.keys())
            raise
        notes.write(FINISHED, parts.keys())
        parts.clear()
    return Study(folder)


def plan_study(
    prompts: str | Path | Iterable[Any],
    lm: LanguageModel,
    out: str | Path | None = None,
    measures: Sequence[str] = ("exactness", "contributions"),
    *,
    gated_path: Share = "up",
    attention: Share = "held",
    k: int = 8,
    deletion: str = "mean",
    concept: str = "",
    strengths: Sequence[int | float] = (0.0, 0.5, 1.0),
    new_tokens: int = 12,
) -> ModelPlan:
    """What ``run_study`` would do with one model, and what it would take: nothing is computed and nothing written.

    With ``out`` what is in that folder already is left out. Raises EqlinError as ``run_study`` does.
    """
    asked = _asked(measures, gated_path, attention, k, deletion, concept, strengths, new_tokens)
    chosen = study_prompts(prompts)
    checked_model(lm)
    there: dict[tuple[str, str], str] = {}
    if out is not None:
        folder = arguments.path("out", out)
        settings = _settings(asked, "")
        del settings["dtype"]  # a model in 4 bits computes in another
        notes = Notes(folder, chosen, settings, "")
        parts = Parts(folder, notes.columns)
        parts.require_same(chosen)
        there = parts.keys()
    return plan_model(lm, chosen, asked, there)


def _run(
    lm: LanguageModel,
    source: str,
    prompts: Sequence[StudyPrompt],
    asked: Asked,
    notes: Notes,
    parts: Parts,
    workers: Workers,
    progress: Progress | None,
    on_plan: Callable[[ModelPlan], Any] | None,
) -> None:
    """All prompts that are not there yet, by one model."""
    plan = plan_model(lm, prompts, asked, parts.keys())
    notes.begin_model(lm.name, plan.sentence())
    if on_plan is not None:
        on_plan(plan)
    if plan.refused:
        parts.add(failed(plan.refused, lm, asked))
    report(progress, 0.0, f"Study of {lm.name}")
    found = workers.measured(lm, source, plan.packs, asked, part(progress, 0.0, 1.0, f"Study of {lm.name}"))
    try:
        for _, rows in found:
            parts.add(rows)
    finally:  # workers elsewhere end with it, however it ends
        if isinstance(found, Generator):
            found.close()
    report(progress, 1.0, f"Study of {lm.name}")


def _asked(
    measures: Sequence[str],
    gated_path: Share,
    attention: Share,
    k: int,
    deletion: str,
    concept: str,
    strengths: Sequence[int | float],
    new_tokens: int,
) -> Asked:
    names = [measures] if isinstance(measures, str) else arguments.several("measures", measures, "measures", least=1)
    for name in names:
        arguments.choice("A measure", name, MEASURES)
    given = arguments.several("strengths", strengths, "a list of at least one number", least=1)
    return Asked(
        tuple(name for name in MEASURES if name in names),
        Convention(gated_path, attention),
        arguments.whole("k", k, 1),
        Behaviour(
            arguments.text("deletion", deletion),
            arguments.text("concept", concept),
            tuple(arguments.number("A strength", s) for s in given),
            arguments.whole("new_tokens", new_tokens, 1),
        ),
    )


def _name_of(dtype: Any) -> str:
    return dtype_name(dtype) if isinstance(dtype, torch.dtype) else str(dtype)


def _settings(asked: Asked, dtype: str) -> dict[str, Any]:
    """What has to be the same when a study is taken up again."""
    behaviour = asked.behaviour
    found: dict[str, Any] = {
        "measures": list(asked.measures),
        "dtype": dtype,
        "gated_path": str(asked.convention.gated_path),
        "attention": str(asked.convention.attention),
    }
    if "spectra" in asked.measures:
        found["k"] = asked.k
    if "faithfulness" in asked.measures:
        found["deletion"] = behaviour.deletion
    if "steering" in asked.measures:
        found |= {"concept": behaviour.concept, "strengths": list(behaviour.strengths)}
        found["new_tokens"] = behaviour.new_tokens
    return found
