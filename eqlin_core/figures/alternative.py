"""A chart in words, for people who do not see it: what it shows, and its main numbers with what they stand for."""

import re
from collections.abc import Callable, Mapping, Sequence
from html import unescape
from itertools import chain
from typing import Any

import numpy as np
import plotly.graph_objects as go

from .captions import caption_of
from .labels import END_ISOLATE, ISOLATE, printed, visible_token

ALL_VALUES = 5  # up to so many values of a line all are said, of more the highest and the lowest
MOST_LINES = 6  # up to so many lines each is said for itself, of more what all of them span
TOKEN_WIDTH = 40
INVISIBLE = "rgba(0,0,0,0)"

Table = Mapping[str, Sequence[Any]]
Place = Callable[[int], str]  # what stands at the value of an index; called for what is said only
Line = tuple[str, np.ndarray, Place]


def alternative_of(name: str, figure: go.Figure, table: Table) -> str:
    """What a chart of this name shows, then its main numbers."""
    said = SPECIAL[name](table) if name in SPECIAL else describe(figure)
    return f"{caption_of(name, None)} {said}".strip()


def describe(figure: go.Figure) -> str:
    """The main numbers of any figure: of every line, bars or heat map the highest and the lowest value, and where."""
    by_quantity: dict[str, list[Line]] = {}
    for trace in figure.data:
        if trace.type == "heatmap":
            quantity, values, place = _heat_map(trace, figure)
        else:
            quantity, values, place = _line(trace, figure)
        values = np.where(np.isfinite(values), values, np.nan)
        if not np.isnan(values).all():
            by_quantity.setdefault(quantity, []).append((_plain(trace.name or ""), values, place))
    return " ".join(_sentence(quantity, lines) for quantity, lines in by_quantity.items())


def _sentence(quantity: str, lines: Sequence[Line]) -> str:
    """The values of one quantity, line by line where there are a few."""
    if len(lines) > MOST_LINES:
        names = list(chain.from_iterable([(name, place, i) for i in range(len(of))] for name, of, place in lines))

        def where(index: int) -> str:
            name, place, i = names[index]
            return f"{name}, {place(i)}"

        quantity = f"{quantity}, {len(lines)} lines"
        lines = [("", np.concatenate([values for _, values, _ in lines]), where)]
    said = [_extremes(values, place) for _, values, place in lines]
    if len(lines) > 1:
        said = [f"{name}: {numbers}" for (name, _, _), numbers in zip(lines, said, strict=True)]
    if quantity[1:2].islower():  # a word, not the name of a number
        quantity = quantity[0].upper() + quantity[1:]
    return f"{quantity}: {'; '.join(said)}."


def _extremes(values: np.ndarray, place: Place) -> str:
    """All of a few values, else how many there are, the highest, and the lowest."""

    def at(index: int) -> str:
        return f"{printed(values[index])} ({where})" if (where := place(index)) else printed(values[index])

    there = np.flatnonzero(np.isfinite(values))
    if len(there) <= ALL_VALUES:
        return ", ".join(at(int(i)) for i in there)
    return f"{len(there)} values, highest {at(int(np.nanargmax(values)))}, lowest {at(int(np.nanargmin(values)))}"


def _line(trace: Any, figure: go.Figure) -> Line:
    """The quantity, the values and the places of a line or of bars; no values where it is drawn for the pointer."""
    if trace.hoverinfo == "skip" or trace.x is None or trace.y is None or trace.marker.color == INVISIBLE:
        return "", np.zeros(0), str
    x, y = _axis(figure, "x", trace.xaxis), _axis(figure, "y", trace.yaxis)
    downwards = y.range is not None and y.range[0] > y.range[1]  # rows from above, whose values lie across
    lying = trace.orientation == "h" if trace.type == "bar" else downwards
    (values, of), (places, along) = ((trace.x, x), (trace.y, y)) if lying else ((trace.y, y), (trace.x, x))
    return (
        _plain(of.title.text or ""),
        np.asarray(values, dtype=np.float64),
        lambda i: _place(along, places[i]),
    )


def _heat_map(trace: Any, figure: go.Figure) -> Line:
    """The quantity, the cells one row after the other, and what they are of."""
    cells = np.asarray(trace.z, dtype=np.float64)
    x, y = _axis(figure, "x", trace.xaxis), _axis(figure, "y", trace.yaxis)
    rows, columns = cells.shape
    quantity = _plain(trace.colorbar.title.text or "").split(" (colours")[0]

    def where(index: int) -> str:
        row, column = divmod(index, columns)
        return f"{_place(y, trace.y[row])}; {_place(x, trace.x[column])}"

    return f"{quantity} in {rows} × {columns} cells", cells.ravel(), where


def _axis(figure: go.Figure, letter: str, name: str | None) -> Any:
    return figure.layout[f"{letter}axis{(name or letter)[1:]}"]


def _place(axis: Any, place: Any) -> str:
    """What stands at a place of an axis: its tick's label, or its number."""
    position = float(place)
    if axis.ticktext is not None and axis.tickvals is not None:
        ticks = np.abs(np.asarray(axis.tickvals, dtype=np.float64) - position)
        if ticks.size and (ticks.size == 1 or ticks.min() < 0.5):
            return _plain(axis.ticktext[int(ticks.argmin())])
    if axis.labelalias:
        return _plain(axis.labelalias.get(str(round(position)), printed(position)))
    beside = 0.3 if axis.type != "log" else 0.0  # bars of two kinds stand beside the number that they share
    return str(round(position)) if abs(position - round(position)) <= beside else printed(position)


def _plain(text: str) -> str:
    """Plotly's text as one line without markup."""
    words = unescape(re.sub(r"</?[a-z]+>", "", text.replace("<br>", " ")))
    return " ".join(words.replace(ISOLATE, "").replace(END_ISOLATE, "").split())


def _token(text: str) -> str:
    return visible_token(text, TOKEN_WIDTH)


def _named(name: str, values: Sequence[Any], places: Sequence[str]) -> Line:
    return name, np.array([np.nan if value == "" else value for value in values], dtype=np.float64), places.__getitem__


def _waterfall(table: Table) -> str:
    """The bias, the highest and the lowest term, and the sum."""
    bias, *terms, total = table["term"]
    said = _sentence("terms", [_named("", terms, [_token(token) for token in table["token"][1:-1]])])
    return f"Bias: {printed(bias)}. {said} Sum: {printed(total)}."


def _leave_one_out(table: Table) -> str:
    """The falls, and the exact terms where they are drawn."""
    tokens = [_token(token) for token in table["token"]]
    said = _sentence("fall without the token", [_named("", table["fall"], tokens)])
    return said if "" in table["term"] else f"{said} {_sentence('exact terms', [_named('', table['term'], tokens)])}"


def _agreement(table: Table) -> str:
    """The highest and the lowest term by every map."""
    lines = []
    for name in dict.fromkeys(table["map"]):
        rows = [i for i, of in enumerate(table["map"]) if of == name]
        lines.append(_named(name, [table["term"][i] for i in rows], [_token(table["token"][i]) for i in rows]))
    return " ".join(_sentence(f"terms by {line[0]}", [line]) for line in lines)


def _compared_terms(table: Table) -> str:
    """Both totals, and the changes that are largest."""
    pairs = zip(table["token_a"][1:-2], table["token_b"][1:-2], strict=True)
    names = [" → ".join(dict.fromkeys(_token(token) for token in pair if token)) for pair in pairs]
    said = _sentence("changes from A to B", [_named("", table["change"][1:-2], names)])
    return f"Total: {printed(table['a'][-1])} in A, {printed(table['b'][-1])} in B. {said}"


def _counterfactual(table: Table) -> str:
    """The part of every swap, what is set free, and the change in the model."""
    n = table["part"].count("map")
    swaps = [f"{_token(a)} → {_token(b)}" for a, b in zip(table["token"][:n], table["other"][:n], strict=True)]
    said = _sentence("swaps", [_named("", table["change"][:n], swaps)])
    free = _sentence("set free", [_named("", table["change"][n:-1], table["part"][n:-1])])
    return f"{said} {free} In the model: {printed(table['change'][-1])}."


def _readout_table(table: Table) -> str:
    """The first tokens of the last layer that has any, column by column."""
    cells = list(zip(table["layer"], table["token"], table["reads"], strict=True))
    last = max((layer for layer, _, reads in cells if reads), default=None)
    if last is None:
        return "Nothing is read out yet."
    said = [f"{_token(token)} as {_token(reads.split(' | ')[0])}" for layer, token, reads in cells if layer == last]
    if len(said) > ALL_VALUES:
        said = [*said[: ALL_VALUES - 1], f"{len(said) - ALL_VALUES} more", said[-1]]
    return f"Read-outs at layer {last}: {', '.join(said)}."


def _lens_table(table: Table) -> str:
    """The first tokens of every read-out at the layer before the model itself, and the model's."""
    cells = list(zip(table["layer"], table["read_out"], table["reads"], strict=True))
    layers = sorted({layer for layer, _, _ in cells})
    said = []
    for layer in layers[-2:-1]:
        names = [f"{name} as {_token(reads.split(' | ')[0])}" for of, name, reads in cells if of == layer]
        said.append(f"Read-outs at layer {layer}: {', '.join(names)}.")
    for layer in layers[-1:]:
        own = next(reads for of, _, reads in cells if of == layer)
        said.append(f"The model itself, layer {layer}: {_token(own.split(' | ')[0])}.")
    return " ".join(said) or "Nothing is read out yet."


def _lens_ranks(table: Table) -> str:
    """The ranks in every read-out before the last layer, which is the model itself, and the cosines of lenses."""
    last = max(table["block"])
    ranks: list[Line] = []
    cosines: list[Line] = []
    for name in dict.fromkeys(table["read_out"]):
        rows = [i for i, of in enumerate(table["read_out"]) if of == name and table["block"][i] != last]
        places = [f"after block {table['block'][i]}" for i in rows]
        for lines, column in ((ranks, "rank"), (cosines, "cosine")):
            line = _named(name, [table[column][i] for i in rows], places)
            if (np.isfinite(line[1]) & ((line[1] != 1) | (lines is ranks))).any():  # the map's own cosine is 1
                lines.append(line)
    said = [_sentence(quantity, lines) for quantity, lines in (("rank", ranks), ("cosine", cosines)) if lines]
    own = [rank for rank, block in zip(table["rank"], table["block"], strict=True) if block == last and rank != ""]
    return " ".join([*said, *(f"In the model itself: rank {rank}." for rank in own[:1])])


def _first_layers(table: Table) -> str:
    """The layers, and how many columns have none."""
    layers = ["" if layer < 0 else layer for layer in table["first_layer"]]
    said = [f"Never: {layers.count('')} of {len(layers)}."] if "" in layers else []
    if any(layer != "" for layer in layers):
        said.insert(0, _sentence("first layer", [_named("", layers, [_token(column) for column in table["column"]])]))
    return " ".join(said)


def _layer_path(table: Table) -> str:
    """How near u_1 and u_2 of the layers before the last come to their own last direction."""
    said = []
    for k, name in ((1, "u₁"), (2, "u₂")):
        rows = [i for i, u in enumerate(table["u"]) if u == k][:-1]
        if rows:
            values = [table[f"with_last_u{k}"][i] for i in rows]
            places = [f"layer {table['layer'][i]}" for i in rows]
            said.append(_sentence(f"cosine of {name} with that of the last layer", [_named("", values, places)]))
    return " ".join(said) or "There is 1 layer."


SPECIAL: dict[str, Callable[[Table], str]] = {
    "agreement": _agreement,
    "compared-terms": _compared_terms,
    "counterfactual": _counterfactual,
    "first-layers": _first_layers,
    "layer-path": _layer_path,
    "leave-one-out": _leave_one_out,
    "lens-ranks": _lens_ranks,
    "lens-table": _lens_table,
    "readout-table": _readout_table,
    "waterfall": _waterfall,
}
