"""Every chart at a number of tokens, with tokens that are hard to draw."""

import numpy as np

from eqlin_core import figures
from eqlin_core.figures import Chart, Theme

MARIN = ["The", " bridge", " out", " of", " Marin", " is", " the"]
HARD = [
    "\n",
    "  ",
    "👩‍🚀",
    "שלום",
    "<b>",
    "<|im_start|>",
    "a" * 80,
    "$x$",
    "&amp;",
    "%{x}",
    "\u200b",
    "\u0301",
    "",
    " the",
]
TARGETS = [" Golden", " most", "\n", "<i>", "שלום"]


def prompt(T: int) -> list[str]:
    """T tokens; from 8 on, hard ones follow the example's."""
    return [(MARIN + HARD)[i % (len(MARIN) + len(HARD))] for i in range(T)]


def charts(T: int, theme: Theme = "light") -> dict[str, Chart]:
    """All charts of one prompt of T tokens."""
    random = np.random.default_rng(T)
    tokens = prompt(T)
    terms = random.normal(size=T)
    spectra = np.sort(random.random((T, 6)), axis=1)[:, ::-1] + 0.1
    rows = [(token, 3.0 - i) for i, token in enumerate(TARGETS)]
    return {
        "waterfall": figures.waterfall(0.5, terms, 0.5 + float(terms.sum()), tokens, explained=" Golden", theme=theme),
        "heatmap": figures.token_target_heatmap(random.normal(size=(T, len(TARGETS))), tokens, TARGETS, theme=theme),
        "norms": figures.norms_and_cosines(random.random(T), random.uniform(-1, 1, T), tokens, theme=theme),
        "singular_values": figures.singular_values(spectra, tokens, theme=theme),
        "stable_ranks": figures.stable_ranks(1 + random.random(T), tokens, theme=theme),
        "triplets": figures.triplet_effect(
            spectra[0],
            random.normal(size=6),
            random.normal(size=6),
            token=tokens[0],
            position=0,
            explained=(" Golden", "<b>"),
            term=0.25,
            theme=theme,
        ),
        "target_effects": figures.target_effects([t for t, _ in rows], random.normal(size=len(rows)), theme=theme),
        "matrix": figures.matrix_heatmap(
            random.normal(size=(12, 10)).astype(np.float32),
            token=tokens[-1],
            position=T - 1,
            limit=2.0,
            rows=(0, 24),
            columns=(5, 35),
            block=(2, 3),
            sigma=spectra[0],
            theme=theme,
        ),
        "line_norms": figures.line_norms(
            random.random(20),
            random.random(24),
            largest_columns=[3, 5],
            largest_rows=[7],
            token=tokens[-1],
            position=T - 1,
            theme=theme,
        ),
        "reconstruction": figures.reconstruction_scatter(
            spectra[0], {"detached <b>": spectra[0], "ordinary": -spectra[0]}, theme=theme
        ),
        "errors": figures.error_histogram(
            spectra[0], {"detached <b>": spectra[0], "ordinary": -spectra[0]}, theme=theme
        ),
        "rank_dial": figures.rank_dial(
            spectra[0], random.random(6), token=tokens[0], true_chance=0.3, position=2, keeps=4, theme=theme
        ),
        "top_tokens": figures.top_tokens(rows, rows[0][0], "probability", theme=theme),
        "joint": figures.joint_spectrum(spectra[0], random.random((6, T)), tokens, highlight=1, theme=theme),
        "readout": figures.readout_bars(rows, rows[:3], theme=theme),
    }
