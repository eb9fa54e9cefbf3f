"""``python -m tests.benchmarks.answers``: every token of an answer from one recording, beside one run for each of them.

On the default model: the seconds of both ways, the largest error of a row, and how far apart their terms are.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

import eqlin_core as eq
from tests.benchmarks.measure import machine, markdown, measure
from tests.cases import default_model

HEAD = ["text", "one recording", "one run a token", "ratio", "terms apart", "largest error of a row", "planned"]
PROMPT = (
    "The Golden Gate Bridge is a famous red bridge in California. Every day thousands of cars drive over it, and many "
    "people walk across it to look at the bay and the city. The bridge connects"
)


def row(dtype: str, before: int, new: int, rounds: int, *, compared: bool = True) -> list[str]:
    """One text's line of the table: errors and differences over the size of a row's terms."""
    lm = default_model(dtype)
    ids = (lm.encode(PROMPT) * (before // len(lm.encode(PROMPT)) + 1))[:before]
    answer = list(eq.continue_text(lm, token_ids=ids, max_new_tokens=new).token_ids)
    text = eq.read_text(lm, token_ids=ids, answer=answer)

    def together() -> eq.AnswerSplit:
        return eq.answer_split(eq.linearize(lm, token_ids=text.token_ids), text.first)

    def alone() -> list[Tensor]:
        rows = []
        for i in range(text.first, len(text.token_ids)):
            lin = eq.linearize(lm, token_ids=text.token_ids, position=i - 1)
            rows.append(lin.logit_split(eq.direction(lin, text.token_ids[i], "log-probability")[None])[0][0].double())
        return rows

    ways = {"together": together, "alone": alone} if compared else {"together": together}
    took = measure(ways, rounds)
    split = together()
    one = took["together"].seconds
    beside = ["", "", ""]
    if compared:
        separate = torch.stack(alone())
        apart = (split.terms - separate).abs().amax(-1) / split.terms.abs().sum(-1)
        many = took["alone"].seconds
        beside = [f"{many:.2f} s", f"{many / one:.1f}", f"{float(apart.max()):.0e}"]
    plan = eq.plan_answer(lm, len(text.token_ids), len(split.terms))
    planned = f"{plan.seconds:.1f} s, {plan.bytes / 2**20:.0f} MiB"
    said = f"{dtype}, {text.first} + {len(split.terms)} tokens"
    return [said, f"{one:.2f} s", *beside, f"{float(split.errors.max()):.0e}", planned]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", action="store_true", help="Also 300 tokens with an answer of 60.")
    options = parser.parse_args()
    rows = [row(dtype, 40, 12, options.rounds) for dtype in ("float32", "float64")]
    if options.long:
        rows.append(row("float32", 300, 60, 1, compared=False))
    print(f"{markdown(HEAD, rows)}\n\n{machine()}")


if __name__ == "__main__":
    main()
