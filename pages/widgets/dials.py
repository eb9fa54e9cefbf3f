"""The two dials that choose among the exact maps, as sliders whose named settings are stops."""

from __future__ import annotations

import streamlit as st

from eqlin_core.runs.convention import ATTENTION, GATED, Convention, share_text

# Set by a page that changed the sidebar's form, which then submits itself.
ASK_AGAIN = "ask_again"
# In steps of a tenth, each with its name where it has one.
GATED_STOPS = tuple(share_text(Convention(gated_path=i / 10).gated_path) for i in range(11))
ATTENTION_STOPS = tuple(share_text(Convention(attention=i / 10).attention) for i in range(11))
_GATED_HELP = (
    "A gated MLP computes act(gate) × up. One factor is held at its value for this prompt and the other stays linear: "
    f"{', '.join(GATED)}, or any share of the gate's path in between. All of these maps are exact."
)
_ATTENTION_HELP = (
    "Attention computes weights × values. Held: the weights are constants. Live: the values are constants, and the "
    f"weights follow queries and keys by their derivative. {', '.join(ATTENTION)}, or any share of the weights' path. "
    "All of these maps are exact; where attention is not held they are affine, and what is constant is in the bias."
)


def take_map(convention: Convention) -> None:
    """Set the sidebar's dials, so that all pages show this map; the analysis is asked for in the next run."""
    st.session_state["gated_path"] = share_text(convention.gated_path)
    st.session_state["attention"] = share_text(convention.attention)
    st.session_state[ASK_AGAIN] = True


def gated_dial(key: str, first: str = GATED_STOPS[0]) -> str:
    """The dial of gated products, bound to the address under ``key``; what ``Convention`` takes.

    It stands at ``first`` unless the address or the page says otherwise; the address leaves that stop out.
    """
    stop: str = st.select_slider(
        "Linear path of gated MLPs", GATED_STOPS, first, key=key, bind="query-params", help=_GATED_HELP
    )
    return stop


def attention_dial(key: str, first: str = ATTENTION_STOPS[0], *, attends: bool = True) -> str:
    """The dial of attention, as ``gated_dial``; for a model that has none it says so."""
    stop: str = st.select_slider(
        "Linear path of attention",
        ATTENTION_STOPS,
        first,
        key=key,
        bind="query-params",
        help=_ATTENTION_HELP if attends else "The model that is shown has no attention: every setting is the same map.",
        disabled=not attends,
    )
    return stop
