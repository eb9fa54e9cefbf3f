"""``python -m tests.benchmarks.studies``: the prompts of marin-100 in batches, beside a loop over ``linearize``.

On the default model: the seconds of both ways with contributions and exactness of every prompt, their ratio, and how
far apart their numbers are.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

import eqlin_core as eq
from eqlin_core.models.prompts import prompt_ids
from eqlin_core.studies.measures import Asked
from eqlin_core.studies.plan import plan_model
from tests.benchmarks.measure import machine, markdown, measure
from tests.cases import default_model

HEAD = ["prompts", "in batches", "one by one", "ratio", "contributions apart", "not exact"]


def row(dtype: str, rounds: int) -> list[str]:
    """The line of one precision; contributions apart over the size of a prompt's."""
    lm = default_model(dtype)
    prompts = eq.study_prompts("marin-100")
    packs = plan_model(lm, prompts, Asked(("exactness", "contributions")), {}).packs

    def together() -> tuple[dict[str, Tensor], int]:
        found: dict[str, Tensor] = {}
        wrong = 0
        for pack in packs:
            maps = eq.linearize_together(lm, [one.token_ids for one in pack.prompts])
            found |= dict(zip((one.prompt.key for one in pack.prompts), maps.contributions(), strict=True))
            wrong += sum(not exactness.exact for exactness in maps.exactness())
        return found, wrong

    def alone() -> tuple[dict[str, Tensor], int]:
        found: dict[str, Tensor] = {}
        wrong = 0
        for one in prompts:
            lin = eq.linearize(lm, token_ids=list(prompt_ids(lm, one.text)))
            found[one.key] = lin.contributions()
            wrong += not lin.exactness().exact
        return found, wrong

    took = measure({"together": together, "alone": alone}, rounds)
    (one, wrong), (other, also) = together(), alone()
    apart = max(float(torch.linalg.norm(one[key] - other[key]) / torch.linalg.norm(other[key])) for key in other)
    batches, loop = took["together"].seconds, took["alone"].seconds
    said = f"{len(prompts)} of 3 to 8 tokens, {dtype}"
    return [said, f"{batches:.2f} s", f"{loop:.2f} s", f"{loop / batches:.1f}", f"{apart:.0e}", f"{wrong}, {also}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = [row(dtype, options.rounds) for dtype in ("float32", "float64")]
    print(f"{markdown(HEAD, rows)}\n\n{machine()}")


if __name__ == "__main__":
    main()
