"""``python -m tests.benchmarks.steering``: cached steering against recomputing, and a sweep against one run.

Recomputing is the published way: the whole text so far goes through the model for every new token, and the push is
summed anew for every position. All times are medians taken in turn in one process.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch

import eqlin_core as eq
from eqlin_core.runs.steering import GRID
from eqlin_core.steering.generation import Settings, generate_rows
from eqlin_core.steering.injection import Injection
from eqlin_core.steering.operators import SteeringOperator, steering_operator
from eqlin_core.steering.steer import steer, steering_sweep
from tests.benchmarks.measure import machine, markdown, measure

CONCEPT, PROMPT = "The Golden Gate Bridge", "Here is a painting of the"
LONG = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--tokens", type=int, default=24, help="generated in each run")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    lm = eq.load_model("smollm2-135m", dtype=options.dtype, device="cpu")
    print(report(lm, options.tokens, options.rounds))


def report(lm: eq.LanguageModel, tokens: int, rounds: int) -> str:
    """The table and what it was measured on, as Markdown."""
    op = steering_operator(lm, CONCEPT, layers=20, final_norm=False)
    short = lm.encode(PROMPT)
    long = (short * LONG)[:LONG]

    def cached(ids: list[int]) -> Callable[[], Any]:
        return lambda: steer(lm, token_ids=ids, operator=op, strength=1.0, max_new_tokens=tokens, stop=False)

    def sweep(ids: list[int]) -> Callable[[], Any]:
        return lambda: steering_sweep(
            lm, token_ids=ids, operator=op, strengths=GRID, max_new_tokens=tokens, stop=False, keep_logits=False
        )

    def plain() -> Any:
        return generate_rows(lm, short, 1, Settings(tokens))

    calls = {
        "plain, short": plain,
        "cached, short": cached(short),
        "recomputed, short": lambda: recomputed(lm, short, op, 1.0, tokens),
        "21 strengths, short": sweep(short),
        f"cached, {LONG} tokens": cached(long),
        f"recomputed, {LONG} tokens": lambda: recomputed(lm, long, op, 1.0, tokens),
        f"21 strengths, {LONG} tokens": sweep(long),
    }
    got = {name: value.seconds for name, value in measure(calls, rounds).items()}
    ratios = [
        (
            f"speed of cached against recomputed, prompt of {len(short)} tokens",
            "recomputed, short",
            "cached, short",
            ">= 1",
        ),
        (f"the same, prompt of {LONG} tokens", f"recomputed, {LONG} tokens", f"cached, {LONG} tokens", ">= 5"),
        ("time of 21 strengths against one, short prompt", "21 strengths, short", "cached, short", "< 6"),
        (f"the same, prompt of {LONG} tokens", f"21 strengths, {LONG} tokens", f"cached, {LONG} tokens", ""),
        ("time of steered against plain generation", "cached, short", "plain, short", ""),
    ]
    rows = [[name, f"{got[a]:.2f} s", f"{got[b]:.2f} s", f"{got[a] / got[b]:.2f}", goal] for name, a, b, goal in ratios]
    table = markdown(["ratio", "first", "second", "first / second", "expected"], rows)
    return f"{tokens} new tokens, {lm.name}, {str(lm.dtype).removeprefix('torch.')}\n\n{table}\n\n{machine()}"


@torch.no_grad()
def recomputed(lm: eq.LanguageModel, ids: list[int], op: SteeringOperator, strength: float, tokens: int) -> list[int]:
    """Steered tokens without a cache."""
    text = list(ids)
    for _ in range(tokens):
        whole = torch.tensor([text], device=lm.device)
        injection = Injection(lm, op, [strength])
        with injection.hooked():
            injection.advance(lm.model.get_input_embeddings()(whole))
            text.append(int(lm.model(input_ids=whole, use_cache=False, logits_to_keep=1).logits[0, -1].argmax()))
    return text[len(ids) :]


if __name__ == "__main__":
    main()
