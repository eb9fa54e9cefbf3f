"""Who visits: the browser tab behind a run of the script, and whether it is still connected."""

from __future__ import annotations

from uuid import uuid4

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx


def visitor() -> str:
    """The name of the tab that this run is for; a new name where there is none."""
    context = get_script_run_ctx(suppress_warning=True)
    return uuid4().hex if context is None else context.session_id


def connected(visitor: str) -> bool:
    """False once this tab was closed or reloaded, or its connection broke; True where nobody can tell."""
    return not runtime.exists() or bool(runtime.get_instance().is_active_session(visitor))
