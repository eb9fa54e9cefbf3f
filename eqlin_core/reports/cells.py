"""What the code of each page is made of: cells, each a line on what it is about and its lines of Python."""

from __future__ import annotations

from collections.abc import Iterator

from eqlin_core.reports.text_cells import Cell, answer_cells, explained_ids
from eqlin_core.reports.view import View
from eqlin_core.runs.convention import Convention

# As many read-outs as the pages show, of as many lines of a matrix.
_READ, _LINES = 12, 8


def cells(view: View) -> Iterator[Cell]:
    """The cells of a view, in the order in which they run."""
    if view.page == "compare":
        yield from _compare(view)
        return
    yield "The model", _model(view)
    if view.page == "steering":
        yield from _steering(view)
        return
    if view.page == "answer":
        yield from answer_cells(view, _dials(view))
        return
    yield "The linear map of the prompt, and how exact it is", _map(view)
    pages = {"tokens": _tokens, "spectra": _spectra, "matrix": _matrix, "layers": _layers}
    yield from pages[view.page](view)


def _model(view: View) -> list[str]:
    return [
        "import eqlin_core as eq",
        *([] if view.page in ("steering", "answer") else ["from eqlin_core import figures"]),
        "",
        _load(view),
        f"prompt = {view.prompt!r}",
    ]


def _load(view: View) -> str:
    return f"lm = eq.load_model({view.model!r}, dtype={view.dtype!r})"


def _map(view: View) -> list[str]:
    given, lines = explained_ids(view)
    return [*lines, f"lin = eq.linearize(lm, {given}{_dials(view)})", "print(lin.exactness())"]


def _dials(view: View, by: Convention | None = None) -> str:
    keywords = (by or Convention(view.gated_path, view.attention)).keywords
    standard = Convention().keywords
    return "".join(f", {name}={value!r}" for name, value in keywords.items() if standard.get(name) != value)


def _baseline(view: View) -> str:
    return "" if view.baseline == "zero" else f", baseline={view.baseline!r}"


def _compare(view: View) -> Iterator[Cell]:
    other = view.compared
    assert other is not None  # a View of this page has one
    yield "A", ["import eqlin_core as eq", "from eqlin_core import figures", "", _load(view), *_side(view, "a")]
    same = (view.model, view.dtype) == (other.model, other.dtype)
    yield "B", [*([] if same else [_load(other)]), *_side(other, "b")]
    asked = {
        "kind": view.kind if view.kind != "logit" else None,
        "target_a": view.target,
        "target_b": other.target,
    }
    told = "".join(f", {name}={value!r}" for name, value in asked.items() if value is not None)
    names = ["found.a.explained", "found.b.explained"]
    if view.kind == "log-probability":
        names = [f"figures.LogProbability({name})" for name in names]
    yield (
        "What changed, and by which tokens",
        [
            f"found = eq.compare_runs(run_a, run_b{told})",
            "for (a, b), change in zip(found.tokens, found.difference):",
            '    print(repr(a), repr(b), f"{change:+.4g}")',
            'print(f"with the constants {found.constant:+.4g}: {found.a.total:.6g} to {found.b.total:.6g}")',
            "chart = figures.compared_terms(",
            "    found.terms_a,",
            "    found.terms_b,",
            "    found.tokens,",
            "    constants=(found.a.constant, found.b.constant),",
            "    totals=(found.a.total, found.b.total),",
            f"    explained=({', '.join(names)}),",
            "    bound=found.bound,",
            ")",
        ],
    )
    yield (
        "The singular triplets of both, and the angles between what the leading ones write and read",
        [
            "maps = eq.compare_runs(",
            "    map_a, map_b, spectra_a=spectra_a, spectra_b=spectra_b, joint_a=joint_a, joint_b=joint_b",
            ")",
            "print(maps.spectra.pairs, maps.spectra.S_a[:, 0], maps.spectra.S_b[:, 0])",
            "print(maps.spectra.left_angles, maps.spectra.right_angles, maps.joint.left_angles)",
        ],
    )
    if view.frozen_at:
        yield "What the swapped tokens change, and how much of it the frozen map foresees", _swaps(view, other)


def _swaps(a: View, b: View) -> list[str]:
    here, there, side = ("a", "b", a) if a.frozen_at == "a" else ("b", "a", b)
    dials = _dials(side, side.heads_by)
    target = f"run_{here}.targets[0].token_id" if side.target is None else repr(side.target)
    return [
        *([] if here == "b" or (a.model, a.dtype) == (b.model, b.dtype) else [_load(a)]),
        f"by = eq.linearize(lm, token_ids=list(run_{here}.key.token_ids){dials})",
        f"w = eq.direction(by, {target}, {a.kind!r})",
        f"swapped = eq.counterfactual(by, list(run_{there}.key.token_ids), w[None])",
        "print(swapped.map, swapped.attention, swapped.norms, swapped.gates)",
        "print(swapped.measured, swapped.before, swapped.after)  # w . y in the model",
    ]


def _side(view: View, name: str) -> list[str]:
    """The runs of A or of B: ``run_a`` is split as page Tokens splits it, ``map_a`` and its spectra are of the map."""
    given, lines = explained_ids(view)
    lines = [f"prompt = {view.prompt!r}", *lines, f"lin = eq.linearize(lm, {given}{_dials(view)})"]
    if view.heads_by is None:
        lines.append("by = lin")
    else:
        lines.append(f"by = eq.linearize(lm, {given}{_dials(view, view.heads_by)})")
    return [
        *lines,
        f"run_{name}, map_{name} = eq.token_run(by, prompt{_baseline(view)}), eq.token_run(lin, prompt)",
        f"spectra_{name}, joint_{name} = eq.spectrum_run(lin, k={view.k}), eq.joint_run(lin, k={view.k})",
        f"print(run_{name}, run_{name}.exactness)",
    ]


def _explained(view: View) -> list[str]:
    """w, and the run that it is of; ``explained`` is what charts call it."""
    first = "run.targets[0].token_id" if view.target is None else repr(view.target)
    lines = [
        f"run = eq.token_run(lin, prompt{_baseline(view)})",
        f"target = {first}",
        "w = lm.unembedding[target].double().cpu().numpy()",
        "explained = lm.token_strings([target])[0]",
    ]
    if view.versus is not None:
        lines.append(f"w = w - lm.unembedding[{view.versus}].double().cpu().numpy()")
        lines.append(f"explained = (explained, lm.token_strings([{view.versus}])[0])")
    elif view.kind == "log-probability":
        lines.append("w = w - run.expected  # the mean row under the model's own probabilities")
        lines.append("explained = figures.LogProbability(explained)")
    return lines


def _tokens(view: View) -> Iterator[Cell]:
    yield (
        "What is explained, as a sum over the input tokens",
        [
            *_explained(view),
            "terms, bias, total = run.split(w)",
            'print(f"bias {bias:.6g} and terms {terms.sum():.6g} sum to {bias + terms.sum():.6g}, of {total:.6g}")',
            "chart = figures.waterfall(",
            "    bias, terms, total, run.tokens, explained=explained, tolerance=100 * run.bounds[0]",
            ")",
        ],
    )
    yield (
        "Size and direction of the contributions",
        [
            "norms, cosines = run.norms, run.cosines",
            "vectors = figures.norms_and_cosines(norms, cosines, run.tokens)",
        ],
    )
    less = " - run.expected" if view.kind == "log-probability" and view.versus is None else ""
    yield (
        "Input tokens by likely next tokens",
        [
            "import numpy as np",
            "",
            f"rows = np.stack([t.row for t in run.targets]){less}",
            "shares = run.contributions @ rows.T  # input tokens, next tokens",
            "names = [t.token for t in run.targets]",
            "heat_map = figures.token_target_heatmap(shares, run.tokens, names, explained=None)",
        ],
    )


def _spectra(view: View) -> Iterator[Cell]:
    yield (
        "The singular triplets of every token's matrix",
        [
            f"spectra = eq.spectrum_run(lin, k={view.k})",
            "print(spectra.S[:, 0], spectra.stable_rank)",
            "values = figures.singular_values(spectra)",
            "ranks = figures.stable_ranks(spectra)",
        ],
    )
    yield (
        "One token's triplets: what they write and read, and their parts of what is explained",
        [
            f"token = {view.token}",
            *_explained(view),
            "shares = spectra.shares(token, w)",
            "for k, (share, u, v) in enumerate(zip(shares, spectra.reads_u[token], spectra.reads_v[token]), 1):",
            '    print(k, f"{share:+.4g}", [t for t, _ in u[:6]], [t for t, _ in v[:6]])',
        ],
    )
    yield (
        "The prediction with every matrix cut to rank r",
        [
            f"cut = eq.truncate(lin, eq.spectrum(lin, k={view.k}))",
            "print(cut.error, cut.keeps)",
        ],
    )
    yield (
        "All tokens' matrices together",
        [
            f"joint = eq.spectrum(lin, k={view.k}, joint=True)",
            "print(joint.S, joint.stable_rank)",
        ],
    )


def _matrix(view: View) -> Iterator[Cell]:
    yield (
        "One token's matrix, and its largest columns and rows",
        [
            f"token = {view.token}",
            "matrix = lin.jacobian()[token].detach()",
            "matrix = matrix.double() if matrix.element_size() == 8 else matrix.float()",
            "column_norms, row_norms = matrix.norm(dim=0), matrix.norm(dim=1)",
            "x = lin.inputs[token].to(matrix)",
            f"columns = column_norms.topk(min({_LINES}, len(column_norms))).indices",
            f"rows = row_norms.topk(min({_LINES}, len(row_norms))).indices",
            "writes = matrix.T[columns] * x[columns].sign()[:, None]  # what an input dimension writes here",
            "seeks = matrix[rows] * (matrix[rows] @ x).sign()[:, None]  # what an output dimension looks for",
            f"writes_as, seeks_as = eq.read_output(lm, writes, {_READ}), eq.read_input(lm, seeks, {_READ})",
            "for j, row in zip(columns.tolist(), writes_as):",
            '    print(j, f"{float(column_norms[j]):.4g}", [t for t, _ in row])',
            "lines = figures.line_norms(",
            "    column_norms.double().cpu().numpy(),",
            "    row_norms.double().cpu().numpy(),",
            "    largest_columns=columns.tolist(),",
            "    largest_rows=rows.tolist(),",
            "    token=lin.tokens[token],",
            "    position=token,",
            ")",
        ],
    )
    yield (
        "What is frozen, and how far the sum then misses the output",
        [
            f"part = eq.partly_frozen(lin, {view.frozen!r})",
            "print(part.reconstruction, part.exact, part.leaks)",
        ],
    )
    if view.towards is not None or view.along:
        yield "How far the frozen map has the model's own top token as this token changes", _reach(view)


def _reach(view: View) -> list[str]:
    lines = [f"towards = {view.towards}"]
    if view.along:
        lines = [
            "v = eq.top_triplets(lin, 1, token=token).Vh[0]",
            "towards = v if float(v @ lin.inputs[token].to(v)) >= 0 else -v",
        ]
    return [
        *lines,
        "reach = eq.validity(lin, token, towards)",
        "print(reach.radius, reach.divergence)",
        "print(reach.parts)  # the map's, then what attention, norms and gates add",
    ]


def _layers(view: View) -> Iterator[Cell]:
    yield _lenses(view) if view.lenses is not None else _sweep(view)
    yield (
        "What every head writes of what is explained",
        [
            *_explained(view),
            "import torch",
            "",
            f"by = eq.linearize(lm, token_ids=lin.token_ids{_dials(view, view.heads_by)})"
            if view.heads_by
            else "by = lin",
            "directions = torch.from_numpy(w)[None].to(by.output)",
            f"parts = eq.direct_contributions(by, directions, baseline={view.baseline!r})",
            "heads = parts.heads[0]  # layers, heads, tokens",
            "print(heads.sum(-1))",
        ],
    )


def _sweep(view: View) -> Cell:
    dials = _dials(view)
    place = f"{None if view.joint else view.token}, {view.triplet}"
    return (
        "The maps to every layer",
        [
            f"sweep = eq.layer_sweep(lm, token_ids=lin.token_ids, mode={view.mode!r}, k=8{dials})",
            "print(sweep.triplets.S.shape, sweep.exact)  # layers, kinds, tokens, triplets",
            f"reads = sweep.read_u({view.layer}, {view.part!r}, {place})",
            "print(reads)",
        ],
    )


def _lenses(view: View) -> Cell:
    """The read-outs of the stream after every block; a lens is fitted anew, which takes minutes."""
    assert view.lenses is not None
    token = "None" if view.target is None else f"[{view.target}]"
    lines = ["lenses = {'logit lens': None, 'exact': 'exact'}"]
    if view.lenses:
        lines += [
            "corpus = [one.text for one in eq.study_prompts('marin-100')]",
            f"for kind in {list(view.lenses)!r}:  # minutes each",
            "    lenses[kind] = eq.fit_lens(lm, corpus, kind, positions='future', skip=1)",
            f"    cosines = eq.lens_cosines(lm, lenses[kind], token_ids=lin.token_ids, token={view.target})",
            "    print(cosines)",
        ]
    lines += [
        "for name, lens in lenses.items():",
        f"    read = eq.read_lens(lm, token_ids=lin.token_ids, lens=lens, tokens={token})",
        "    print(name, read.ranks[:, 0].tolist(), [read.top(layer)[0] for layer in read.layers])",
    ]
    return "What the stream reads as after every block", lines


def _steering(view: View) -> Iterator[Cell]:
    options = {
        "layers": (view.layers, None),
        "final_norm": (view.final_norm, True),
        "block": (view.block, None),
    }
    made = "".join(f", {name}={value!r}" for name, (value, usual) in options.items() if value != usual) + _dials(view)
    lines = [f"operator = eq.steering_operator(lm, {view.concept!r}{made})"]
    operator = "operator"
    if view.second.strip():
        lines.append(f"second = eq.steering_operator(lm, {view.second!r}{made})")
        operator = "[operator, second]"
    yield "The concept's linear map", lines
    settings = {
        "form": (view.form, "reference"),
        "temperature": (view.temperature, 0.0),
        "top_p": (view.top_p, 1.0),
        "seed": (view.seed, 0),
        "chat": (view.chat, False),
    }
    told = "".join(f", {name}={value!r}" for name, (value, usual) in settings.items() if value != usual)
    yield (
        "The texts at these strengths",
        [
            f"strengths = {list(view.strengths)!r}",
            f"texts = eq.steering_sweep(lm, prompt, {operator}, strengths, {view.max_new_tokens}{told})",
            "for text in texts:",
            "    print(text.strength, repr(text.text))",
        ],
    )
