"""The controls of the page Steering: presets, the two prompts, the depth with its guide, and what is rarely changed."""

from __future__ import annotations

import streamlit as st

from eqlin_core.figures import visible_token
from eqlin_core.runs.steering import OperatorFile, SteeringPlan, is_word
from eqlin_core.steering.presets import STEERING_PRESETS
from pages.steered.plans import FIRST
from pages.steered.sliders import from_address, put
from pages.steered.state import Steering, convention, source
from pages.widgets.facts import code
from pages.worker.request import DEFAULT_MODEL

FORMS = ("reference", "interpolation")
_RUN, _UPLOADS = "steering_run", "steering_uploads"
_OPENED = "opened"  # by which the page asks when it is opened, without a click


def form(state: Steering, blocks: int) -> SteeringPlan | None:
    """Draw the controls for a model with so many blocks; the plan when it was just asked for, else None."""
    _defaults(blocks)
    presets = st.container()
    from_file = _file() is not None
    left, middle, right = st.columns([4, 3, 5], gap="medium")
    left.text_input(
        "Concept",
        key="concept",
        bind="query-params",
        disabled=from_file,
        help="Its linear map steers. What the map writes is what the model makes of these words at their end.",
    )
    interpolation = st.session_state.get("form", st.query_params.get("form")) == FORMS[1]
    middle.text_input(
        "Second concept",
        key="second",
        bind="query-params",
        placeholder="none",
        disabled=interpolation,
        help="Combined with the first, with a slider of its own. Only in the reference form.",
    )
    right.text_input(
        "New prompt",
        key="onto",
        bind="query-params",
        help="It is continued twice: by the model as it is, and with the concept's map pushing.",
    )
    left, middle, right = st.columns([6, 3, 2], gap="medium", vertical_alignment="bottom")
    with left:
        st.slider(
            "Depth of the map, in blocks",
            1,
            blocks,
            key="depth",
            bind="query-params",
            disabled=_depth_is_given(),
            help="The map leads from the concept's embeddings to the output of this block; it pushes at its input.",
        )
    with middle.popover("Settings", width="stretch"):
        _settings(blocks)
    right.button("Steer", type="primary", key="steer", on_click=_ask_to_run, width="stretch", disabled=not _ready())
    with presets:  # drawn last: a preset is chosen while all that it set stands
        _presets(blocks)
    plan = current_plan()
    asked = state.asked
    wanted = st.session_state.pop(_RUN, False)
    if wanted and not (wanted == _OPENED and asked == (source(), plan)):  # page Start may have asked for it
        return plan
    return None


def _presets(blocks: int) -> None:
    """The presets; the one is chosen whose settings the form has."""
    s = st.session_state
    has = {key: s[key] for key in _preset_settings(blocks, FIRST)}
    same = (name for name in STEERING_PRESETS if has == _preset_settings(blocks, name))
    s["steering_preset"] = None if _file() is not None else next(same, None)
    st.pills(
        "Presets, tried on the default model",
        list(STEERING_PRESETS),
        key="steering_preset",
        on_change=_take_preset,
        args=(blocks,),
    )


def _preset_settings(blocks: int, name: str) -> dict[str, object]:
    """What a preset sets, by the keys of the form, in a model of so many blocks."""
    preset = STEERING_PRESETS[name]
    return {
        "concept": preset.concept,
        "onto": preset.prompt,
        "depth": min(preset.layers, blocks),
        "norm": preset.final_norm,
        "form": FORMS[0],
        "inject": -1,
        "second": "",
        "temperature": 0.0,
        "chat": False,
    }


def step_back() -> None:
    """The sidebar's prompt and the strip are of the other pages: here they stand in the background."""
    st.html(
        "<style>.st-key-strip, .st-key-prompt, .st-key-example { opacity: 0.9; } "
        ".st-key-strip:hover, .st-key-prompt:is(:hover, :focus-within), .st-key-example:hover { opacity: 1; }</style>"
    )


def _settings(blocks: int) -> None:
    """What is rarely changed, in a popover."""
    st.toggle(
        "Map through the final norm",
        key="norm",
        bind="query-params",
        disabled=_depth_is_given(),
        help="The reference takes the map through the final norm, frozen at that place.",
    )
    st.selectbox(
        "Form of the push",
        FORMS,
        key="form",
        bind="query-params",
        help="reference: h + λ a ‖h‖ / (2 ‖a‖). interpolation: λ h + (1 − λ) a, equation 16 of the paper; "
        "there 1 is the unsteered model.",
    )
    st.number_input(
        "Inject at block (−1: the map's last)", -1, blocks - 1, -1, key="inject", bind="query-params", step=1
    )
    st.number_input("New tokens", 1, 200, 24, key="new_tokens", bind="query-params", step=1)
    st.file_uploader(
        "Operator from a file",
        type="safetensors",
        key=_upload_key(),
        on_change=_take_upload,
        help="One that this page or SteeringOperator.save() wrote, for this model. It stands for concept and depth.",
    )
    st.slider("Temperature", 0.0, 2.0, 0.0, key="temperature", bind="query-params", step=0.1, help="0 is greedy.")
    st.slider("Top-p", 0.05, 1.0, 1.0, key="top_p", bind="query-params", step=0.05)
    st.number_input("Seed", 0, 10**6, 0, key="seed", bind="query-params", step=1)
    st.toggle("Chat template", key="chat", bind="query-params", help="For instruction-tuned models.")


def current_plan() -> SteeringPlan:
    """The plan that the form's settings make, once the form is drawn."""
    s = st.session_state
    inject = int(s["inject"])
    interpolation = s["form"] == "interpolation"
    file = _file()
    return SteeringPlan(
        concept="" if file else s["concept"] or "",
        prompt=s["onto"] or "",
        layers=int(s["depth"]),
        final_norm=bool(s["norm"]),
        block=None if inject < 0 else inject,
        form="interpolation" if interpolation else "reference",
        second="" if interpolation else s["second"] or "",
        max_new_tokens=int(s["new_tokens"]),
        temperature=float(s["temperature"]),
        top_p=float(s["top_p"]),
        seed=int(s["seed"]),
        chat=bool(s["chat"]),
        **convention().keywords,
        file=file,
    )


def _file() -> OperatorFile | None:
    """The uploaded operator, not read yet: that is the worker's part."""
    upload = st.session_state.get(_upload_key())
    return None if upload is None else OperatorFile(upload.name, upload.getvalue())


def _depth_is_given() -> bool:
    """Whether a file says it, and no second concept needs it."""
    return _file() is not None and not (st.session_state.get("second") or "").strip()


def _upload_key() -> str:
    """Of the uploader, which only a new key empties."""
    return f"operator-upload-{st.session_state.get(_UPLOADS, 0)}"


def _take_upload() -> None:
    st.session_state[_RUN] = _file() is not None


def guide_line(state: Steering) -> None:
    """One line under the depth: what the concept's map writes there."""
    file = _file()
    if file is not None:
        st.caption(f"The operator in {code(file.name)} stands for concept and depth. Remove it in Settings.")
        return
    guide = state.guide(st.session_state["concept"] or "")
    if guide is None:
        return
    reads = [token for token, _ in guide.reads[st.session_state["depth"] - 1]]
    words = " ".join(f"`{visible_token(token)}`" for token in reads)
    nameless = "" if not reads or is_word(reads[0]) else "; the first of them names nothing"
    st.caption(f"After {st.session_state['depth']} blocks the concept reads as {words}{nameless}.")


def _defaults(blocks: int) -> None:
    """Values of a first visit, those of the address excepted; a depth beyond another model's blocks is cut."""
    state, query = st.session_state, st.query_params
    preset = STEERING_PRESETS[FIRST]
    default_model = source().model == DEFAULT_MODEL
    depth = preset.layers if default_model else max(1, round(blocks * 2 / 3))
    known = {
        "concept": preset.concept,
        "onto": preset.prompt,
        "depth": depth,
        "norm": preset.final_norm,
    }
    if "steering_started" not in state:
        state["steering_started"], state[_RUN] = True, _OPENED
        state.setdefault("lambda", preset.strength)
        from_address()
    for key, value in known.items():
        if key not in state and key not in query:
            state[key] = value
    if state.get("depth", 1) > blocks:
        state["depth"] = depth


def _take_preset(blocks: int) -> None:
    name = st.session_state["steering_preset"]
    if name is None:
        return
    st.session_state.update(_preset_settings(blocks, name))
    put(STEERING_PRESETS[name].strength)
    st.session_state[_UPLOADS] = st.session_state.get(_UPLOADS, 0) + 1
    st.session_state[_RUN] = True


def _ask_to_run() -> None:
    st.session_state[_RUN] = True


def _ready() -> bool:
    concept = _file() is not None or (st.session_state["concept"] or "").strip()
    return bool(concept and (st.session_state["onto"] or "").strip())
