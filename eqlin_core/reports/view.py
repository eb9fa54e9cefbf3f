"""What a page shows and with which choices: everything that its numbers depend on."""

from __future__ import annotations

from dataclasses import dataclass

from eqlin_core import arguments
from eqlin_core.errors import InvalidValue
from eqlin_core.runs.convention import Convention, Share
from eqlin_core.runs.split import TARGET_KINDS, Split, TargetKind

PAGES = ("tokens", "spectra", "matrix", "layers", "steering", "compare", "answer")
MODES = ("cumulative", "layerwise")
FROZEN_AT = ("", "a", "b")
FORMS = ("reference", "interpolation")
LENSES = ("frozen", "jacobian", "norms-frozen", "r-lens")
RULES = ("attention", "norms", "gates")
DTYPES = ("float32", "float64", "bfloat16", "float16", "4bit")


@dataclass(frozen=True)
class View:
    """A page and its choices, the defaults being those that eqlin's functions have.

    ``begin``: the begin-of-text token before the prompt. ``target`` and ``versus`` are token ids, None for the most
    likely one and for none. ``token`` is a position of the prompt, ``k`` how many triplets are kept; ``frozen`` the
    rules that page Matrix reconstructs with. ``mode``, ``layer`` and ``part`` ("layer", "attn" or "mlp") are those of
    page Layers, with ``joint`` in place of ``token`` for the cell of all tokens together, ``triplet`` from 0, and
    ``heads_by`` for the map that splits the logit, None for the same one, and ``lenses``, the kinds of lenses that the
    stream is read through, None where the maps are looked at. On page Matrix ``towards`` is the id of the token that
    another one is turned into, and ``along`` says that it is moved along its v_1 instead. On page Compare the view is
    A's, ``compared`` B's, and ``frozen_at`` "a" or "b" where swapped tokens are measured. What follows is page
    Steering's, ``strengths`` numbers or pairs.

    With ``chat`` the prompt is a written chat, as `read_chat` reads it (on page Steering what the user says).
    ``answer`` follows the prompt. Page Answer explains each of its tokens; the other pages the next token at
    ``position`` of prompt and answer together, from 0, None for the last before the answer. Raises EqlinError for a
    page or a choice that does not exist, for Compare without ``compared`` and for Answer with neither answer nor chat.
    """

    page: str
    prompt: str
    model: str = "smollm2-135m"
    dtype: str = "float32"
    gated_path: Share = "up"
    attention: Share = "held"
    begin: bool = False
    kind: TargetKind = "logit"
    target: int | None = None
    versus: int | None = None
    baseline: str | int = "zero"
    token: int = 0
    k: int = 24
    frozen: tuple[str, ...] = RULES
    towards: int | None = None
    along: bool = False
    mode: str = "cumulative"
    layer: int = 0
    part: str = "layer"
    joint: bool = False
    triplet: int = 0
    heads_by: Convention | None = None
    lenses: tuple[str, ...] | None = None
    compared: View | None = None
    frozen_at: str = ""
    concept: str = ""
    second: str = ""
    layers: int | None = None
    final_norm: bool = True
    block: int | None = None
    form: str = "reference"
    strengths: tuple[float | int | tuple[float | int, ...], ...] = (0.0, 1.0)
    max_new_tokens: int = 24
    temperature: float | int = 0.0
    top_p: float | int = 1.0
    seed: int = 0
    chat: bool = False
    answer: str = ""
    position: int | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("page", PAGES),
            ("dtype", DTYPES),
            ("kind", TARGET_KINDS),
            ("mode", MODES),
            ("part", ("layer", "attn", "mlp")),
            ("form", FORMS),
            ("frozen_at", FROZEN_AT),
        ):
            arguments.choice(name, getattr(self, name), known)
        for name in ("prompt", "model", "concept", "second", "answer"):
            arguments.text(name, getattr(self, name))
        for name in ("begin", "joint", "final_norm", "chat", "along"):
            object.__setattr__(self, name, arguments.flag(name, getattr(self, name)))
        for name, least in (("token", 0), ("k", 1), ("layer", 0), ("triplet", 0), ("max_new_tokens", 1), ("seed", 0)):
            object.__setattr__(self, name, arguments.whole(name, getattr(self, name), least))
        for name in ("target", "versus", "layers", "block", "position", "towards"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, arguments.whole(name, getattr(self, name), 0))
        for name in ("temperature", "top_p"):
            object.__setattr__(self, name, arguments.number(name, getattr(self, name), 0))
        for rule in arguments.several("frozen", self.frozen, "some of the rules attention, norms and gates"):
            arguments.choice("a rule of frozen", rule, RULES)
        for kind in arguments.several("lenses", self.lenses or (), "some of the kinds of lenses"):
            arguments.choice("a kind of lens", kind, LENSES)
        object.__setattr__(self, "strengths", tuple(map(_strength, _several(self.strengths))))
        if self.heads_by is not None:
            arguments.instance("heads_by", self.heads_by, Convention, "a Convention")
        if self.compared is not None or self.page == "compare":
            arguments.instance("compared", self.compared, View, "the View of what it is compared with")
        if self.page == "answer" and not (self.answer or self.chat):
            raise InvalidValue(
                "Page Answer explains an answer: give one, or a chat in which the assistant has begun it."
            )
        dials = Convention(self.gated_path, self.attention)
        object.__setattr__(self, "gated_path", dials.gated_path)
        object.__setattr__(self, "attention", dials.attention)
        Split(self.kind, self.baseline)  # which checks both


def _several(value: object) -> list[object]:
    return arguments.several("strengths", value, "a list of numbers, or of pairs of them", least=1)


def _strength(value: object) -> float | tuple[float, ...]:
    if isinstance(value, list | tuple):
        return tuple(arguments.number("a strength", one) for one in value)
    return arguments.number("a strength", value)
