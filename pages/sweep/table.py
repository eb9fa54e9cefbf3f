"""The read-out table of the page Layers, the choices that it is drawn by, and the triplet that a click opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.figures import format_number, visible_token
from eqlin_core.figures.layers import KIND_NAMES
from eqlin_core.reprs import counted
from eqlin_core.runs.treatments import mixer
from pages.sweep.jobs import KEPT_TRIPLETS
from pages.sweep.state import MODES, layers
from pages.widgets.charts import clicked, show
from pages.widgets.facts import fact, strip_of
from pages.widgets.inspector import triplet_inspector
from pages.widgets.sentences import shortened
from pages.widgets.theme import theme
from pages.widgets.token_choice import token_name

if TYPE_CHECKING:
    from eqlin_core.runs.layers import SweepRun
    from eqlin_core.runs.prompt import TokenRun

MODE_NAMES = {"cumulative": "the embeddings", "layerwise": "the block's input"}
X_NAMES = {"cumulative": ("own embedding", "all embeddings"), "layerwise": ("own input", "all inputs")}
SIZE, SPREAD, TURN, EFFECT, OWN = (
    "σ",
    "stable rank",
    "cosine with the last layer's u",
    "σ (v · x)",
    "cosine of v with x",
)
QUANTITIES = (SIZE, SPREAD, TURN, EFFECT, OWN)
_TABLE, _CELL = "layer-table", "cell"


@dataclass(frozen=True)
class Chosen:
    """What the page shows: a mode's sweep, a kind, a triplet (from 0), and the cell that is open."""

    sweep: SweepRun
    kind: str
    triplet: int
    quantity: str
    layer: int
    column: int
    mixer: str = KIND_NAMES["attn"]

    @property
    def kind_name(self) -> str:
        """The kind in words."""
        return self.mixer if self.kind == "attn" else KIND_NAMES[self.kind]

    @property
    def place(self) -> int:
        """Where the kind stands in the arrays."""
        return self.sweep.kinds.index(self.kind)

    @property
    def joint(self) -> bool:
        """Whether the open cell is of the joint map."""
        return self.column == len(self.sweep.tokens)


def choices(sweeps: Mapping[str, SweepRun], run: TokenRun) -> Chosen | None:
    """Draw the choices above the table; None while there is no sweep to show."""
    if not sweeps:
        return None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        mode = st.segmented_control(
            "Map",
            MODES,
            default=MODES[0],
            required=True,
            format_func={"cumulative": "cumulative", "layerwise": "layer-wise"}.__getitem__,
            key="map_from",
            bind="query-params",
            help="Cumulative, from the embeddings to the layer; or one layer alone, from the block's own input.",
        )
        kinds = next((list(s.kinds) for s in sweeps.values() if s.complete), list(KIND_NAMES))
        if st.session_state.get("place", "layer") not in kinds:  # of another model
            st.session_state.pop("place")
        kind = st.segmented_control(
            "to the",
            kinds,
            default="layer",
            required=True,
            format_func=(KIND_NAMES | {"attn": mixer(run.treatments)}).__getitem__,
            key="place",
            bind="query-params",
        )
        sweep = sweeps.get(mode or MODES[0], next(iter(sweeps.values())))
        there = sweep.S.shape[-1]
        numbers = list(range(1, max(KEPT_TRIPLETS, there) + 1))
        triplet = st.selectbox("Triplet", numbers, key="layer_triplet", bind="query-params", width=110)
        quantity = st.selectbox("Colour", QUANTITIES, key="layer_colour", bind="query-params", width=290)
    with st.container():
        if sweep.mode != mode:
            seen = MODE_NAMES[sweep.mode]
            refused = layers().refused.get(str(mode), "")
            why = (
                f"The maps from {MODE_NAMES[mode]} are not there yet" if not refused else shortened(refused).rstrip(".")
            )
            st.caption(f"{why}; you see those from {seen}.")
        elif not sweep.complete or kind not in sweep.kinds or triplet > there:
            so_far = f"{counted(there, 'triplet')} of each map to the {KIND_NAMES[sweep.kinds[0]]}"
            layers_there = "" if sweep.complete else f", up to layer {len(sweep.errors) - 1} of {sweep.n_layers - 1}"
            st.caption(f"So far there are {so_far}{layers_there}; the rest follows by itself.")
    if {"at_layer", "column"} & set(st.query_params):
        st.session_state.setdefault(_CELL, True)
    names = _column_names(sweep)
    for key, options in (("at_layer", list(range(run.n_layers))), ("column", names)):
        if st.session_state.get(key) not in options:  # of another prompt or model: then the last one, as at first
            st.session_state.pop(key, None)
    kind = kind if kind in sweep.kinds else sweep.kinds[0]
    cell = _open_cell(sweep, names)
    chosen = Chosen(sweep, kind, min(int(triplet), there) - 1, quantity, *cell, mixer(run.treatments))
    if sweep.complete:
        _cell(chosen)
    return chosen


def keep_choices() -> None:
    """Where they are not drawn: they stand as they were once they are drawn again."""
    for key in ("map_from", "place", "layer_triplet", "layer_colour", "at_layer", "column"):
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]


def _cell(chosen: Chosen) -> None:
    """The choice of the open cell, and what is known of its map."""
    sweep, k, place = chosen.sweep, chosen.triplet, (chosen.layer, chosen.place, chosen.column)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        at, names = list(range(sweep.U.shape[0])), _column_names(sweep)
        st.selectbox("Layer", at, index=len(at) - 1, key="at_layer", bind="query-params", width=110)
        st.selectbox("Map of", names, index=len(names) - 1, key="column", bind="query-params", width=260)
        numbers = {
            "stable rank": sweep.stable_rank[place],
            "cosine of u with the last layer's": sweep.cosines_with_last(chosen.kind, k)[chosen.layer, chosen.column],
        }
        st.html(strip_of(*(fact(name, format_number(value)) for name, value in numbers.items())))


def read_out(chosen: Chosen, run: TokenRun) -> None:
    """The table, and below it the triplet of the open cell."""
    sweep, k, place = chosen.sweep, chosen.triplet, chosen.place
    L, C = len(sweep.errors), len(sweep.columns)
    values = _values(chosen)
    blank: list[list[list[str]]] = [[[]] * C] * (sweep.n_layers - L)  # the layers that are still to come
    st.header(f"What {subscripted('u', k + 1)} writes, layer by layer")
    show(
        figures.readout_table(
            [[[t for t, _ in sweep.reads("u", i, chosen.kind, c, k)] for c in range(C)] for i in range(L)] + blank,
            values[chosen.quantity],
            sweep.columns,
            quantity=chosen.quantity,
            details=[(name, values[name]) for name in QUANTITIES if name != chosen.quantity],
            signed=chosen.quantity in (TURN, EFFECT, OWN),
            log=chosen.quantity in (SIZE, SPREAD),
            chosen=(chosen.layer, chosen.column) if sweep.complete else None,
            theme=theme(),
        ),
        _TABLE,
        f"To the {chosen.kind_name} from {MODE_NAMES[sweep.mode]}, through the final norm ({sweep.key.dtype}); "
        f"error of the maps at most {figures.format_error(float(sweep.errors[:, place].max()))}.",
        on_click=_open_clicked,
    )
    if sweep.complete:
        cell = st.expander("The open cell's triplet", key=_CELL, on_change="rerun")
        if cell.open:
            with cell:
                inspect(chosen, run)


def inspect(chosen: Chosen, run: TokenRun) -> None:
    """The triplet of the open cell."""
    sweep, k = chosen.sweep, chosen.triplet
    place = (chosen.layer, chosen.place, chosen.column)
    reads_u, reads_v = (sweep.reads(side, chosen.layer, chosen.kind, chosen.column, k) for side in ("u", "v"))
    triplet_inspector(
        f"Triplet {k + 1} of {visible_column(chosen)} at layer {chosen.layer}, {chosen.kind_name}",
        sigma=float(sweep.S[place][k]),
        u=sweep.U[place][:, k],
        projection=float(sweep.projections[place][k]),
        own_cosine=float(sweep.cosines[place][k]),
        reads_u=reads_u,
        reads_v=reads_v,
        targets=run.targets,
        dtype=sweep.key.dtype,
        x_name=X_NAMES[sweep.mode][chosen.joint],
        note="v is read where it is longest." if chosen.joint else "",
        key="layer-",
    )


def visible_column(chosen: Chosen) -> str:
    """The open cell's column in a sentence."""
    return "all tokens together" if chosen.joint else visible_token(chosen.sweep.tokens[chosen.column])


def _values(chosen: Chosen) -> dict[str, np.ndarray]:
    """[n_layers, C] of every quantity, not a number where it is still to come."""
    sweep, k, place = chosen.sweep, chosen.triplet, chosen.place
    there = {
        SIZE: sweep.S[:, place, :, k],
        SPREAD: sweep.stable_rank[:, place],
        TURN: sweep.cosines_with_last(chosen.kind, k) if sweep.complete else np.full(sweep.S.shape[::2], np.nan),
        EFFECT: sweep.S[:, place, :, k] * sweep.projections[:, place, :, k],
        OWN: sweep.cosines[:, place, :, k],
    }
    missing = ((0, sweep.n_layers - len(sweep.errors)), (0, 0))
    return {name: np.pad(values, missing, constant_values=np.nan) for name, values in there.items()}


def _column_names(sweep: SweepRun) -> list[str]:
    return [*(token_name(sweep.tokens, i) for i in range(len(sweep.tokens))), sweep.columns[-1]]


def _open_cell(sweep: SweepRun, names: list[str]) -> tuple[int, int]:
    """(layer, column) of the open cell, from the choices or the address, where they name one."""
    query = st.query_params
    layer = str(st.session_state.get("at_layer", query.get("at_layer", "")))
    column = st.session_state.get("column", query.get("column", ""))
    L = sweep.U.shape[0]
    return (
        int(layer) if layer.isdigit() and int(layer) < L else L - 1,
        names.index(column) if column in names else len(names) - 1,
    )


def _open_clicked() -> None:
    cell = clicked(_TABLE)
    if cell is None:
        return
    layer, column = int(cell[0]), int(cell[1])
    sweep = next(iter(layers().shown.values()))
    st.session_state["at_layer"], st.session_state["column"] = layer, _column_names(sweep)[column]
    st.session_state[_CELL] = True


def subscripted(name: str, k: int) -> str:
    """The name with an index, such as u₁."""
    return name + "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(k))
