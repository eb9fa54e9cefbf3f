"""Every chart at a number of tokens, with tokens that are hard to draw."""

from functools import cache

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


@cache  # a hundred tests read each of them, and none writes
def charts(T: int, theme: Theme = "light") -> dict[str, Chart]:
    """All charts of one prompt of T tokens; ``charts.__wrapped__`` draws them anew."""
    random = np.random.default_rng(T)
    tokens = prompt(T)
    terms = random.normal(size=T)
    spectra = np.sort(random.random((T, 6)), axis=1)[:, ::-1] + 0.1
    rows = [(token, 3.0 - i) for i, token in enumerate(TARGETS)]
    columns, L = [*tokens, "joint"], 5
    reads = [[prompt(L + T)[(i + c) % T : (i + c) % T + 3] for c in range(T + 1)] for i in range(L)]
    total = 0.5 + float(terms.sum())
    measure = "log-probability of $x$ <b>%{x}"
    parts = {"exact map": terms, "attention": -0.5 * terms[::-1], "norms <i>": random.normal(size=T)}
    pairs: list[tuple[str | None, str | None]] = [  # of all kinds: the same, another one, in A alone, in B alone
        [(a, a), (a, b), (a, None), (None, b)][i % 4] for i, (a, b) in enumerate(zip(tokens, tokens[::-1], strict=True))
    ]
    of_a, of_b = (np.where([pair[run] is None for pair in pairs], np.nan, random.normal(size=T)) for run in (0, 1))
    curves = {"exact split": -np.arange(5.0), "<b>": -np.sqrt(np.arange(5)), "random": -0.5 * np.arange(5)}
    return {
        "waterfall": figures.waterfall(0.5, terms, total, tokens, explained=" Golden", theme=theme),
        "waterfall_apart": figures.waterfall(
            0.5, terms, total, tokens, target=measure, apart=True, hatched=range(0, T, 3), theme=theme
        ),
        "leave_one_out": figures.leave_one_out(terms, tokens, theme=theme),
        "leave_one_out_apart": figures.leave_one_out(
            terms, tokens, measure=measure, unit="<b>", terms=terms[::-1], apart=True, theme=theme
        ),
        "hidden_effects": figures.hidden_effects(
            parts, np.sum(list(parts.values()), axis=0), tokens, measure=measure, theme=theme
        ),
        "deletion": figures.deletion_curves(curves, range(5), measure=measure, kind="deletion", theme=theme),
        "insertion": figures.deletion_curves(
            {"%{x}": np.arange(60.0)}, np.arange(60), measure=measure, kind="insertion", theme=theme
        ),
        "reach": figures.reach(
            np.arange(T) / T, random.random(T), tokens, tokens[::-1], radius=0.3, way=measure, theme=theme
        ),
        "reach_parts": figures.reach_parts(np.arange(T) / T, parts, measure=measure, hidden=terms, theme=theme),
        "counterfactual": figures.counterfactual(
            list(zip(tokens, tokens[::-1], strict=True)),
            range(T),
            terms,
            {"attention": 0.5, "softmax <i>": -0.25},
            measured=float(terms.sum()) + 0.25,
            measure=measure,
            theme=theme,
        ),
        "agreement": figures.agreement(
            [("published", terms), ("<i> half", -terms)], tokens, shown="published", differs=range(1, T, 2), theme=theme
        ),
        "compared_terms": figures.compared_terms(
            of_a,
            of_b,
            pairs,
            constants=(0.5, 0.25),
            totals=(0.5 + float(np.nansum(of_a)), 0.25 + float(np.nansum(of_b))),
            explained=("<b>", (" Golden", "%{x}")),
            theme=theme,
        ),
        "compared_spectra": figures.compared_spectra(spectra, spectra[::-1], pairs, theme=theme),
        "subspace_angles": figures.subspace_angles(
            {"$x$ <b>": np.arange(T) * 90 / T, "read": np.arange(3.0)}, name="%{x} <i>", theme=theme
        ),
        "heatmap": figures.token_target_heatmap(random.normal(size=(T, len(TARGETS))), tokens, TARGETS, theme=theme),
        "answer_heatmap": figures.answer_heatmap(
            random.normal(size=(3, T)),
            [*HARD[:2], "<b>"],
            tokens,
            values=np.array([-0.5, -1.0, -2.0]),
            rest=random.normal(size=3),
            seen=np.tri(3, T, T - 3),
            muted=[i % 3 == 0 for i in range(T)],
            first=T - 2,
            chosen=1,
            measure=measure,
            theme=theme,
        ),
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
        "readout_table": figures.readout_table(
            reads, random.random((L, T + 1)), columns, quantity="σ", log=True, chosen=(2, 0), theme=theme
        ),
        "lens_table": figures.readout_table(
            [row[:2] for row in reads],
            random.random((L, 2)),
            ["logit lens", "map"],
            quantity="x",
            across="by",
            theme=theme,
        ),
        "lens_ranks": figures.lens_ranks(
            {"logit lens": np.arange(T) - 1, "map": 1 + np.arange(T)[::-1], "<b> lens": np.ones(T, dtype=np.int64)},
            {"<b> lens": np.append(random.uniform(-1, 1, T - 1), np.nan)},
            token=tokens[-1],
            exact="map",
            plain="logit lens",
            theme=theme,
        ),
        "layer_spectra": figures.layer_spectra(spectra, name=tokens[0], chosen=0, theme=theme),
        "layer_ranks": figures.layer_stable_ranks(
            {"cumulative": 1 + random.random((T, 3)), "layerwise": 5 + random.random((T, 3))},
            ("layer", "attn", "mlp"),
            name=tokens[0],
            theme=theme,
        ),
        "layer_path": figures.layer_path(random.uniform(-1, 1, (T, 2, 2)), name=tokens[0], theme=theme),
        "first_layers": figures.first_layers(
            np.arange(T + 1) % L - 1, columns, token=tokens[-1], n_layers=L, theme=theme
        ),
        "heads": figures.heads_table(random.normal(size=(T, 4)), explained=" Golden", chosen=(0, 3), theme=theme),
        "head_tokens": figures.head_tokens(terms, tokens, layer=1, head=2, explained=" Golden", theme=theme),
        "direct_layers": figures.direct_layers(terms, -terms, 0.5, explained=(" Golden", "<b>"), theme=theme),
    }
