"""Plans that nobody had to type: those of the presets."""

from __future__ import annotations

from eqlin_core.runs.steering import SteeringPlan
from eqlin_core.steering.presets import STEERING_PRESETS
from pages.steered.state import convention

FIRST = next(iter(STEERING_PRESETS))


def preset_plan(blocks: int, name: str = FIRST) -> SteeringPlan:
    """The plan of a preset for a model of so many blocks, as the form has it once the preset is chosen."""
    preset = STEERING_PRESETS[name]
    return SteeringPlan(
        preset.concept,
        preset.prompt,
        min(preset.layers, blocks),
        final_norm=preset.final_norm,
        **convention().keywords,
    )
