"""What a study has found so far: how its numbers are spread, two of them together, its prompts, its tables as files."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from eqlin_core.errors import EqlinError
from eqlin_core.figures import histograms, measures_scatter, visible_token
from eqlin_core.studies.notes import NAME
from eqlin_core.studies.reading import Study
from eqlin_core.studies.tables import TABLES
from pages.studies.jobs import Asked
from pages.visit.session import session
from pages.widgets.charts import show
from pages.widgets.downloads import download_link
from pages.widgets.opening import ask_for
from pages.widgets.tabs import tabs
from pages.widgets.theme import theme

if TYPE_CHECKING:
    import pandas as pd

# Numbers of the tables, as people choose them: the table, the column, and whether it spans powers of ten.
NUMBERS: dict[str, tuple[str, str, bool]] = {
    "stable rank": ("tokens", "stable_rank", True),
    "largest singular value": ("tokens", "sigma_1", True),
    "norm of the contribution": ("tokens", "norm", True),
    "term of the logit": ("tokens", "term", False),
    "term of the log-probability": ("tokens", "log_term", False),
    "fall of the log-probability without the token": ("tokens", "fall", False),
    "log-probability of the predicted token": ("prompts", "log_probability", False),
    "entropy of the prediction": ("prompts", "entropy", False),
    "bias's term of the logit": ("prompts", "bias_term", False),
    "reconstruction error": ("prompts", "reconstruction", True),
    "forward error": ("prompts", "forward", True),
    "rank of the predicted token after a block": ("layers", "predicted_rank", True),
    "attention's term of a block": ("layers", "attn_term", False),
    "MLP's term of a block": ("layers", "mlp_term", False),
    "a head's term": ("heads", "term", False),
    "a head's weight on the first token": ("heads", "first_token_weight", False),
    "rank agreement with leave-one-out": ("methods", "rank_agreement", False),
}
_GROUPS = {"tokens": "position", "layers": "layer", "heads": "layer", "methods": "method"}
_SHOWN = ("prompt", "predicted", "log_probability", "n_tokens", "exact", "reconstruction", "error")
_COLUMNS = {
    "predicted": st.column_config.TextColumn("next token"),
    "log_probability": st.column_config.NumberColumn("log-probability", format="%.3f"),
    "n_tokens": st.column_config.NumberColumn("tokens"),
    "reconstruction": st.column_config.NumberColumn("error", format="%.1e", help="of the reconstruction, relative"),
    "error": st.column_config.TextColumn("what failed"),
}
_TABLE = "study_table"


def results(asked: Asked) -> None:
    """Draw what is there of the study; nothing where it has not begun."""
    if not asked.begun:
        return
    try:
        _results(asked, Study(asked.folder))
    except EqlinError as error:
        st.error(str(error), icon=":material/error:")


def _results(asked: Asked, study: Study) -> None:
    prompts = study.table("prompts")
    if prompts.empty:
        return
    failed = len(study.failures)
    said = f"{len(prompts)} prompt{'s are' if len(prompts) > 1 else ' is'} there" + (
        f", {failed} with something that failed" if failed else ""
    )
    st.caption(f"{said}. {asked.model}, {asked.dtype}, map {asked.request.convention.words}.")
    known = [name for name, of in NUMBERS.items() if _has(study, of)]
    parts = {
        "How it is spread": partial(_spread, study, known),
        "Two numbers": partial(_together, study, known),
        "Prompts and tables": partial(_prompts, study, prompts, asked),
    }
    tabs("study_tab", parts)


def _has(study: Study, of: tuple[str, str, bool]) -> bool:
    table = study.table(of[0])
    return not table.empty and bool(table[of[1]].notna().any())


def _spread(study: Study, known: list[str]) -> None:
    if not known:
        st.info("No number is there that could be drawn.")
        return
    name = st.selectbox("Number", known, key="study_number", bind="query-params")
    of, column, log = NUMBERS[str(name)]
    table = study.table(of)
    groups = _grouped(table, of, column)
    try:
        chart = histograms(groups, quantity=str(name), log=log, theme=theme())
    except ValueError:
        st.info("No value of it can be drawn.")
        return
    note = {"tokens": "By the token's position in the prompt, from 0.", "layers": "By block.", "heads": "By block."}
    show(chart, "study-histograms", f"{note.get(of, '')} The line is the median.".strip())


def _grouped(table: pd.DataFrame, of: str, column: str) -> dict[str, list[float]]:
    by = _GROUPS.get(of)
    if by is None:
        return {"all prompts": table[column].dropna().astype(float).tolist()}
    word = "" if by == "method" else ("position " if by == "position" else "block ")
    return {
        f"{word}{key}": group[column].dropna().astype(float).tolist()
        for key, group in table.groupby(by, sort=by != "method")
    }


def _together(study: Study, known: list[str]) -> None:
    left, right = st.columns(2)
    with left:
        across = st.selectbox("Across", known, key="study_x", bind="query-params")
    with right:
        same = [name for name in known if NUMBERS[name][0] == NUMBERS[str(across)][0] and name != across]
        up = st.selectbox("Up", same, key="study_y") if same else None
    if up is None:
        st.info("No other number stands beside this one: measure more.")
        return
    (of, x, log_x), (_, y, log_y) = NUMBERS[str(across)], NUMBERS[str(up)]
    table = study.table(of)
    names = _names(study, table, of)
    try:
        chart = measures_scatter(
            table[x].astype(float).tolist(),
            table[y].astype(float).tolist(),
            names,
            quantities=(str(across), str(up)),
            log=(log_x, log_y),
            theme=theme(),
        )
    except ValueError:
        st.info("No point of these two can be drawn.")
        return
    show(chart, "study-scatter", "A point each; the pointer says of which prompt.")


def _names(study: Study, table: pd.DataFrame, of: str) -> list[str]:
    prompts = study.table("prompts")
    texts = dict(zip(prompts["key"], prompts["prompt"], strict=True))
    own = {"tokens": "token", "layers": "layer", "heads": "head", "methods": "method"}.get(of)
    if own is None:
        return [texts[key] for key in table["key"]]
    # of a study that runs a table that is read later may have prompts that the first has not
    return [f"{name} in “{texts.get(key, key)}”" for name, key in zip(table[own], table["key"], strict=True)]


def _prompts(study: Study, prompts: pd.DataFrame, asked: Asked) -> None:
    given = [name for name in study.info["columns"] if name in prompts]
    columns = [name for name in (*_SHOWN, *given) if name in prompts and prompts[name].notna().any()]
    shown = prompts[columns]
    if "predicted" in shown:  # a space or the end of a line would be an empty cell
        shown = shown.assign(predicted=shown["predicted"].map(visible_token, na_action="ignore"))
    chosen = st.dataframe(
        shown,
        key=_TABLE,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        height=380,
        column_config=_COLUMNS,
    )
    rows = chosen["selection"]["rows"]
    with st.container(horizontal=True, vertical_alignment="center"):
        row = prompts.iloc[rows[0]] if rows and rows[0] < len(prompts) else None
        st.button(
            "Open this prompt",
            key="study_open",
            disabled=row is None or row["form"] == "token ids",
            on_click=_open,
            args=(asked, "" if row is None else str(row["prompt"]), row is not None and row["form"] == "chat"),
            help="Its analysis stands on the other pages then."
            if row is not None
            else "Choose a row of the table first.",
        )
        asked_for = session().asked
        if row is not None and asked_for is not None and asked_for.prompt == row["prompt"]:
            st.page_link("pages/tokens.py", label="See it on page Tokens", icon=":material/arrow_forward:")
        download_link(
            "Parquet",
            _zipped(study),
            f"eqlin-study-{asked.source.name}.zip",
            mime="application/zip",
            key="study-download",
            help="All tables, as pandas, DuckDB and others read them, and what was asked for.",
        )


def _open(asked: Asked, prompt: str, chat: bool) -> None:
    """Ask for the analysis of a prompt of the table."""
    ask_for(replace(asked.request, prompt=prompt, chat=chat))


def _zipped(study: Study) -> Callable[[], bytes]:
    def files() -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name in TABLES:
                table = study.table(name)
                if not table.empty:
                    archive.writestr(f"{name}.parquet", _parquet(table))
            archive.writestr(NAME, json.dumps(study.info, indent=1))
        return buffer.getvalue()

    return files


def _parquet(table: Any) -> bytes:
    data: bytes = table.to_parquet(index=False)
    return data
