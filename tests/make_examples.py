"""``python -m tests.make_examples``: compute what is shipped of the example prompts, in place of what is there.

Of every example the contributions by the published map and by the one that page Tokens opens with, and of the first one
the spectra.
"""

from __future__ import annotations

from collections.abc import Iterator

from eqlin_core.runs.convention import PUBLISHED
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from pages.worker.analysis import KEPT_TRIPLETS
from pages.worker.request import DEFAULT_SPLIT, EXAMPLES, Request
from pages.worker.saved_analyses import SHIPPED, shipped_file

MOST_BYTES = 4 << 20


def computed() -> Iterator[tuple[str, Request, TokenRun | SpectrumRun]]:
    """What is shipped: (the question's name, its request, the answer), computed now."""
    from eqlin_core import linearize, load_model
    from eqlin_core.analysis.prompt import spectrum_run, token_run

    first = Request()
    lm = load_model(first.model, dtype=first.dtype, device="cpu")
    for prompt in EXAMPLES:
        for convention in (PUBLISHED, DEFAULT_SPLIT.convention):
            request = Request(prompt).by(convention)
            lin = linearize(lm, prompt, **convention.keywords)
            run = token_run(lin, prompt)
            if request != first:
                yield "tokens", request, run
                continue
            yield "spectra", request, spectrum_run(lin, KEPT_TRIPLETS)
            yield "tokens", request, run


def main() -> None:
    """Write the files, and print what they take."""
    from eqlin_core.runs.files import save_run

    SHIPPED.mkdir(exist_ok=True)
    for file in SHIPPED.glob("*.npz"):
        file.unlink()
    for name, request, run in computed():
        save_run(run, shipped_file(name, request))
    total = sum(file.stat().st_size for file in SHIPPED.glob("*.npz"))
    print(f"{total / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
