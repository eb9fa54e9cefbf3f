"""Which theme the browser shows, on the first run and after every change."""

from __future__ import annotations

import streamlit as st

from eqlin_core.figures import Theme

# Streamlit restyles the page when the theme changes but does not rerun the app, so the colours that the server chose
# would stay behind; this reports the change once.
_watch = st.components.v2.component(
    "eqlin_theme",
    html="<span></span>",
    js="""
export default function({ parentElement, setTriggerValue, data }) {
  const app = document.querySelector('[data-testid="stApp"]');
  const shade = () => {
    const [red, green, blue] = getComputedStyle(app).backgroundColor.match(/[0-9.]+/g).map(Number);
    return 0.299 * red + 0.587 * green + 0.114 * blue < 128 ? 'dark' : 'light';
  };
  parentElement.told ??= data.shown;
  const timer = setInterval(() => {
    const now = shade();
    if (now !== parentElement.told) {
      parentElement.told = now;
      setTriggerValue('changed', now);
    }
  }, 300);
  return () => clearInterval(timer);
}""",
)


def theme() -> Theme:
    """The theme that the browser shows now."""
    return "dark" if st.context.theme.type == "dark" else "light"


def follow_theme() -> None:
    """Rerun the app when the visitor changes the theme; app.py calls it on every run."""
    _watch(key="theme_watch", data={"shown": theme()}, on_changed_change=lambda: None, height=1)
