"""``python -m tests.benchmarks.lens``: which read-out of the residual stream knows the next token first.

The model's own next token of 100 prompts, ranked after every block by the logit lens, by lenses fitted on `marin-100`,
and by the exact map of the very prompt: median ranks with 95 % intervals, and how often each is worse than the logit
lens. ``--fits DIR`` keeps the lenses: half an hour for each on two cores, seconds on a GPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import eqlin_core as eq
from tests.benchmarks.measure import machine, markdown

HELD, PARTS, SKIP = 100, 10, 1
RESAMPLES = 2000


def fitted(lm: eq.LanguageModel, kind: str, positions: str, keep: Path | None) -> eq.Lens:
    """The lens of this kind on marin-100, from the file where it was kept."""
    file = None if keep is None else keep / f"{kind}-{positions}.safetensors"
    if file is not None and file.exists():
        return eq.load_lens(file)
    texts = [prompt.text for prompt in eq.study_prompts("marin-100")]
    parts = [
        eq.fit_lens(lm, texts[at : at + PARTS], kind, positions=positions, skip=SKIP)
        for at in range(0, len(texts), PARTS)
    ]
    lens = eq.merge_lenses(parts)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        lens.save(file)
    return lens


def ranks_of(lm: eq.LanguageModel, reads: dict[str, eq.Lens | str | None], texts: list[str]) -> dict[str, np.ndarray]:
    """[prompts, layers] of every read-out: the rank of the model's own next token, 1 for the first."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in reads}
    for text in texts:
        for name, lens in reads.items():
            found[name].append(eq.read_lens(lm, text, lens).ranks[:-1, 0].cpu().numpy())
    return {name: np.stack(rows) for name, rows in found.items()}


def with_interval(ranks: np.ndarray, generator: np.random.Generator) -> str:
    """The median over prompts, and where 95 of 100 medians of resampled prompts lie."""
    again = np.median(generator.choice(ranks, (RESAMPLES, len(ranks))), axis=1)
    low, high = np.quantile(again, [0.025, 0.975])
    return f"{np.median(ranks):g} ({low:g} to {high:g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--list", default="facts", help="the list that the held prompts are of")
    parser.add_argument("--positions", default="future", choices=("future", "last"))
    parser.add_argument("--every", type=int, default=3, help="every so many layers have a line")
    parser.add_argument("--fits", type=Path)
    options = parser.parse_args()
    lm = eq.load_model("smollm2-135m", dtype="float32", device=options.device)
    reads: dict[str, eq.Lens | str | None] = {"logit lens": None}
    for kind in ("jacobian", "frozen"):
        reads[kind] = fitted(lm, kind, options.positions, options.fits)
        print(f"{reads[kind]!r}", flush=True)
    reads["exact"] = "exact"
    seen = {prompt.text for prompt in eq.study_prompts("marin-100")}
    texts = [prompt.text for prompt in eq.study_prompts(options.list) if prompt.text not in seen][:HELD]
    ranks = ranks_of(lm, reads, texts)
    generator = np.random.default_rng(0)
    layers = ranks["exact"].shape[1]
    shown = sorted({*range(0, layers, options.every), layers - 1})
    rows = [[str(i), *(with_interval(of[:, i], generator) for of in ranks.values())] for i in shown]
    print(markdown(["after block", *reads], rows))
    plain = ranks["logit lens"]
    lines = []
    for name, of in ranks.items():
        first = [int(behind[-1]) + 1 if len(behind := np.flatnonzero(row != 1)) else 0 for row in of]
        better, worse = float((of < plain).mean()), float((of > plain).mean())
        medians = int((np.median(of, 0) > np.median(plain, 0)).sum())
        lines.append(
            [name, with_interval(np.array(first), generator), f"{better:.0%}", f"{worse:.0%}", f"{medians} of {layers}"]
        )
    head = ["read-out", "first from block", "better than the logit lens", "worse", "layers whose median is worse"]
    print(f"\n{markdown(head, lines)}\n\n{len(texts)} prompts of {options.list}; {lm.device}; {machine()}")


if __name__ == "__main__":
    main()
