"""Steering examples with a visible effect on the bundled default model; each was tried and its output looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SteeringPreset:
    """A concept, a prompt, a place in the network and a strength at which the effect shows."""

    concept: str
    prompt: str
    layers: int
    final_norm: bool
    strength: float


STEERING_PRESETS = {
    "Golden Gate": SteeringPreset("The Golden Gate Bridge", "Here is a painting of the", 20, False, 1.0),
    "Dragon": SteeringPreset("A dragon", "Once upon a time there was a little", 20, False, 1.3),
    "Ocean": SteeringPreset("The ocean", "In the morning I looked out of the window and saw the", 20, False, 1.0),
    "War": SteeringPreset("The war", "He wrote a long book about the", 20, False, 0.8),
    "Cat": SteeringPreset("The cat", "In the garden I saw a", 20, False, 0.5),
    "Tallest bridge": SteeringPreset(
        "The Golden Gate Bridge", "The tallest building in the city is the", 20, False, 1.0
    ),
}
