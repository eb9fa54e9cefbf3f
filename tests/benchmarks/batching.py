"""``python -m tests.benchmarks.batching``: would the prompts of several visitors be quicker as rows of one batch?

Only the passes of the contributions are timed, a batch of T rows of T positions for each prompt, on the stock decoder:
what the frozen one adds can only make less of a gain. Shorter prompts are filled up to the longest, as in any batch.
"""

from __future__ import annotations

import torch

import eqlin_core as eq
from tests.benchmarks.measure import machine, markdown, measure

PROMPTS = (
    "The capital of France is",
    "My favourite colour is",
    "The bridge out of Marin is the",
    "Once upon a time there was a little",
    "Water boils at a temperature of one hundred degrees",
    "The opposite of hot is",
    "In 1969 the first man walked on the",
    "She opened the door and saw that the room was completely",
    "To make bread you need flour, water and",
    "The author of Romeo and Juliet is William",
)


@torch.no_grad()
def main() -> None:
    lm = eq.load_model("smollm2-135m", dtype="float32", device="cpu")
    decoder = lm.model.get_decoder()

    def row(name: str, lengths: list[int]) -> list[str]:
        def passes(rows: int, positions: int) -> None:
            decoder(torch.full((rows, positions), 5), use_cache=False)

        def alone() -> None:
            for T in lengths:
                passes(T, T)

        found = measure({"alone": alone, "batch": lambda: passes(sum(lengths), max(lengths))}, 7)
        one, all_at_once = found["alone"].seconds, found["batch"].seconds
        return [name, f"{one:.2f} s", f"{all_at_once:.2f} s", f"{one / all_at_once:.2f}x"]

    lengths = [len(lm.encode(prompt)) for prompt in PROMPTS]
    same = round(sum(lengths) / len(lengths))
    rows = [
        row(f"ten prompts of {same} tokens", [same] * len(lengths)),
        row(f"ten prompts of {min(lengths)} to {max(lengths)} tokens", lengths),
    ]
    print(markdown(["passes of the contributions", "one by one", "one batch", "faster"], rows))
    print(f"\n{machine()}; float32.")


if __name__ == "__main__":
    main()
