"""What a study says at a glance: a few tables of medians over its prompts, as rows of text and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eqlin_core.studies.reading import Study

if TYPE_CHECKING:
    import pandas as pd

# Positions that few prompts have say little.
LEAST_PROMPTS = 5


@dataclass(frozen=True)
class Summary:
    """One table: what it says, the heads of its columns, and its rows."""

    title: str
    columns: list[str]
    rows: list[list[Any]]


def summaries(study: Study) -> list[Summary]:
    """The tables of what was measured, for every model; none where nothing was."""
    found: list[Summary] = []
    for model in study.info["models"]:
        for make in (_exact, _by_position, _by_layer, _methods, _strengths):
            summary = make(study, model)
            if summary is not None and summary.rows:
                found.append(summary)
    return found


def _of(study: Study, table: str, model: str) -> pd.DataFrame:
    whole = study.table(table)
    return whole[whole["model"] == model]


def _exact(study: Study, model: str) -> Summary | None:
    prompts = _of(study, "prompts", model)
    measured = prompts[prompts["exact"].notna()]
    if measured.empty:
        return None
    row = [
        f"{int(measured['exact'].sum())} of {len(measured)}",
        float(measured["reconstruction"].max()),
        float(measured["forward"].max()),
    ]
    return Summary(f"{model}: exact", ["exact", "largest reconstruction error", "largest forward error"], [row])


def _by_position(study: Study, model: str) -> Summary | None:
    tokens = _of(study, "tokens", model)
    columns = {
        "stable_rank": "stable rank",
        "sigma_1": "σ₁",
        "log_term": "term of log p",
        "fall": "fall of log p without it",
    }
    there = [name for name in columns if len(tokens) and tokens[name].notna().any()]
    rows = []
    for at, group in tokens.groupby("position") if there else ():
        if len(group) >= min(LEAST_PROMPTS, tokens["key"].nunique()):
            spread = [float(group["stable_rank"].quantile(q)) for q in (0.25, 0.75)] if "stable_rank" in there else []
            rows.append([int(str(at)), len(group), *(float(group[name].median()) for name in there), *spread])
    heads = ["position", "prompts", *(f"{columns[name]}, median" for name in there)]
    heads += ["stable rank, lower quartile", "upper quartile"] if "stable_rank" in there else []
    return Summary(f"{model}: by the token's position", heads, rows)


def _by_layer(study: Study, model: str) -> Summary | None:
    layers = _of(study, "layers", model)
    rows = [
        [
            int(str(layer)),
            float(group["predicted_rank"].median()),
            float((group["predicted_rank"] == 1).mean()),
            float(group["attn_term"].median()),
            float(group["mlp_term"].median()),
        ]
        for layer, group in (layers.groupby("layer") if len(layers) else ())
    ]
    heads = ["block", "predicted token's rank, median", "share first", "attention's term, median", "MLP's term, median"]
    return Summary(f"{model}: by block, through the final norm", heads, rows)


def _methods(study: Study, model: str) -> Summary | None:
    methods = _of(study, "methods", model)
    rows = [
        [str(name), len(group), float(group["rank_agreement"].mean()), float(group["rank_agreement_rest"].mean())]
        for name, group in (methods.groupby("method", sort=False) if len(methods) else ())
    ]
    heads = ["method", "prompts", "rank agreement with leave-one-out, mean", "without the first token"]
    return Summary(f"{model}: what foretells deletions", heads, sorted(rows, key=lambda row: -row[2]))


def _strengths(study: Study, model: str) -> Summary | None:
    strengths = _of(study, "strengths", model)
    rows = [
        [
            float(str(strength)),
            len(group),
            float(group["log_probability"].mean()),
            float(group["random_log_probability"].mean()),
            float(group["divergence"].mean()),
        ]
        for strength, group in (strengths.groupby("strength") if len(strengths) else ())
    ]
    heads = ["strength", "prompts", "log p of what the concept says, mean", "by a random operator", "KL from unsteered"]
    return Summary(f"{model}: steering", heads, rows)
