"""Present mode: no sidebar, larger type, and keys that turn the pages, for whoever looks from the back of a room."""

from __future__ import annotations

import streamlit as st

from pages.widgets.present import PRESENT, WIDE, presents

_KEYS = """
const NEXT = ["ArrowRight", "PageDown"], BACK = ["ArrowLeft", "PageUp"];
const WIDE = 1600; // pixels from which charts are larger still

export default function ({ setStateValue, setTriggerValue, data }) {
  const typing = target => target.closest(
    "input, textarea, select, [contenteditable], [role=slider], [role=tab], [role=radio]");
  const turn = step => {
    const within = document.querySelector(step > 0 ? ".st-key-step-next button" : ".st-key-step-back button");
    if (within && !within.disabled) return within.click();
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
  let told = data.wide;
  const measured = () => {
    if (told !== innerWidth >= WIDE) setStateValue("wide", (told = innerWidth >= WIDE));
  };
  measured();
  addEventListener("resize", measured);
  document.addEventListener("keydown", pressed);
  return () => {
    removeEventListener("resize", measured);
    document.removeEventListener("keydown", pressed);
  };
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
            help="Hides the sidebar, enlarges the type. Arrow keys turn the pages, and the steps of Start; Escape "
            "brings the sidebar back.",
        )


def present() -> None:
    """While it is on: hide the sidebar, enlarge the type, and listen to the keys."""
    if not presents():
        return
    st.html(
        """<style>
        html { font-size: clamp(19px, 1.45vw, 40px); }
        [data-testid="stSidebar"], [data-testid="stSidebarCollapsedControl"], [data-testid="stExpandSidebarButton"],
        [data-testid="stHeader"], [data-testid="stLayoutWrapper"]:has(> .st-key-chores), [class*="st-key-chores-"],
        .st-key-code, .st-key-story_map [data-testid="stWidgetLabel"] { display: none !important; }
        .stMainBlockContainer { padding-top: 0.8rem !important; max-width: none !important; }
        h1 { padding-bottom: 0.4rem !important; }
        .st-key-told, .stMainBlockContainer > [data-testid="stVerticalBlock"] { gap: 0.55rem; }
        </style>"""
    )
    with st.container(key="present_keys"):
        _component(
            key="present-keys",
            data={"wide": bool(st.session_state.get(WIDE))},
            on_left_change=_leave,
            on_wide_change=_measured,
        )


def _measured() -> None:
    st.session_state[WIDE] = bool(st.session_state["present-keys"].wide)


def _leave() -> None:
    st.session_state[PRESENT] = False
