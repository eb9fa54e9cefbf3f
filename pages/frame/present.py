"""Present mode: no sidebar, larger type, and keys that turn the pages, for whoever looks from the back of a room."""

from __future__ import annotations

import streamlit as st

from pages.widgets.present import PRESENT, presents

_KEYS = """
const NEXT = ["ArrowRight", "PageDown"], BACK = ["ArrowLeft", "PageUp"];

export default function ({ setTriggerValue }) {
  const typing = target => target.closest(
    "input, textarea, select, [contenteditable], [role=slider], [role=tab], [role=radio]");
  const turn = step => {
    const links = [...document.querySelectorAll('[data-testid="stSidebarNavLink"]')];
    const here = links.findIndex(link => link.getAttribute("aria-current") === "page");
    links[(here + step + links.length) % links.length]?.click();
  };
  const pressed = event => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (NEXT.includes(event.key)) turn(1);
    else if (BACK.includes(event.key)) turn(-1);
    else if (event.key === "Escape") setTriggerValue("left", true);
    else return;
    event.preventDefault();
  };
  document.addEventListener("keydown", pressed);
  return () => document.removeEventListener("keydown", pressed);
}
"""
_component = st.components.v2.component("eqlin_present", html="<span></span>", js=_KEYS, isolate_styles=False)


def switch() -> None:
    """The switch at the end of the sidebar."""
    with st.sidebar:
        st.toggle(
            "Present",
            key=PRESENT,
            bind="query-params",
            help="Hides the sidebar, enlarges the type. Arrow keys turn the pages; Escape brings the sidebar back.",
        )


def present() -> None:
    """While it is on: hide the sidebar, enlarge the type, and listen to the keys."""
    if not presents():
        return
    st.html(
        """<style>
        html { font-size: 19px; }
        [data-testid="stSidebar"], [data-testid="stSidebarCollapsedControl"], [data-testid="stExpandSidebarButton"] {
            display: none; }
        [data-testid="stHeader"] { display: none; }
        .stMainBlockContainer { padding-top: 1.4rem !important; }
        </style>"""
    )
    with st.container(key="present_keys"):
        _component(key="present-keys", on_left_change=_leave)


def _leave() -> None:
    st.session_state[PRESENT] = False
