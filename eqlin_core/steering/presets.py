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
    "Dragon": SteeringPreset("A dragon", "Scientists have discovered a new", 20, False, 0.5),
    "Ocean": SteeringPreset("The ocean", "The book tells the story of a", 20, False, 0.7),
    "Paris": SteeringPreset("The Eiffel Tower in Paris", "Once upon a time there was a little", 20, False, 0.6),
    "Soldier": SteeringPreset("The war", "Once upon a time there was a little", 16, False, 0.3),
    "Cat": SteeringPreset("The cat", "Tell me about the", 20, False, 0.4),
    "Tallest bridge": SteeringPreset(
        "The Golden Gate Bridge", "The tallest building in the city is the", 20, False, 1.0
    ),
}
