"""``python -m tests.benchmarks.steering_presets``: every preset of the page Steering, as a Markdown table.

For each it shows how the default model goes on without and with the push, the strength at which the next token flips,
and the strength at which the text breaks down.
"""

from __future__ import annotations

import argparse
import contextlib

import eqlin_core as eq
from eqlin_core.analysis.steering import read_plan, steering_grid
from eqlin_core.figures import visible_token
from eqlin_core.runs.steering import SteeringGrid, SteeringPlan
from eqlin_core.steering.operators import steering_operator
from eqlin_core.steering.presets import STEERING_PRESETS, SteeringPreset
from tests.benchmarks.measure import machine, markdown

WORDS = 11
HEAD = ["preset", "concept", "prompt", "unsteered", "λ", "steered", "next token flips", "breaks down"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    options = parser.parse_args()
    lm = eq.load_model("smollm2-135m", dtype=options.dtype, device="cpu")
    rows = [row(name, preset, grid(lm, preset)) for name, preset in STEERING_PRESETS.items()]
    print(f"{markdown(HEAD, rows)}\n\n{lm.name}, {options.dtype}, greedy, 24 new tokens. {machine()}")


def grid(lm: eq.LanguageModel, preset: SteeringPreset) -> SteeringGrid:
    """The page's grid of a preset, up to its flip strength: the control that follows takes as long again."""
    plan = SteeringPlan(preset.concept, preset.prompt, preset.layers, preset.final_norm)
    operator = steering_operator(lm, preset.concept, preset.layers, final_norm=preset.final_norm)
    stages: list[SteeringGrid] = []
    with contextlib.suppress(eq.Cancelled):
        steering_grid(
            lm,
            read_plan(lm, plan),
            [operator],
            publish=stages.append,
            progress=lambda *_: not (stages and stages[-1].flip),
        )
    return stages[-1]


def row(name: str, preset: SteeringPreset, found: SteeringGrid) -> list[str]:
    """One preset's line of the table."""
    texts = {s: shortened(text.text) for (s,), text in zip(found.strengths, found.texts, strict=True)}
    flip = found.flip
    assert flip is not None
    token = f"`{visible_token(flip.token)}`"
    return [
        name,
        preset.concept,
        preset.prompt,
        texts[0.0],
        f"{preset.strength:g}",
        texts[preset.strength],
        f"to {token} at {flip.strength:.3f}" if flip.strength else f"not to {token}",
        "no" if found.breaks_down is None else f"at {found.breaks_down:g}",
    ]


def shortened(text: str) -> str:
    """The first words of a text, in one line."""
    words = text.split()
    return " ".join(words[:WORDS]) + (" ..." if len(words) > WORDS else "")


if __name__ == "__main__":
    main()
