"""Text of tokens and numbers: what a token looks like on a chart, and three significant digits."""

import math
import unicodedata
from typing import SupportsFloat

ISOLATE, END_ISOLATE = "\u2068", "\u2069"  # first-strong isolate: right-to-left text cannot reorder its neighbours
JOINER = "\u200d"  # holds the parts of one emoji together
VARIATION_SELECTORS = ("\ufe0e", "\ufe0f")
Explained = str | tuple[str, str]  # the explained next token, or two, whose logits' difference is explained

PLOTLY_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "%": "&#37;"}
VISIBLE = {" ": "·", "\n": "⏎", "\t": "⇥"}
SIGNIFICANT_FIXED = (-2, 2)  # powers of ten between which a number is written without an exponent


def visible_token(token: str, width: int | None = None) -> str:
    """The token with visible spaces (·), newlines (⏎) and tabs (⇥); anything else that has no glyph is escaped.

    With `width`, at most that many characters, the last one an ellipsis. Plain text: not escaped for HTML.
    """
    if not token:
        return "∅"
    shown = [_visible_character(token, i) for i in range(len(token))]
    if width is not None and sum(map(len, shown)) > width:
        kept: list[str] = []
        for piece in shown:
            if sum(map(len, kept)) + len(piece) > width - 1:
                break
            kept.append(piece)
        while kept and (kept[-1] == JOINER or unicodedata.combining(kept[-1][-1])):
            kept.pop()
        shown = [*kept, "…"]
    text = "".join(shown)
    return f"◌{text}" if unicodedata.combining(text[0]) else text


def token_label(token: str, width: int | None = 16) -> str:
    """The visible token for Plotly's text: its markup and TeX disarmed, its writing direction isolated."""
    return isolated(plotly_text(visible_token(token, width)))


def text_label(text: str, width: int | None = None) -> str:
    """Words for Plotly's text, such as the name of a measure: spaces stay, everything else is as in `token_label`."""
    words = " ".join(visible_token(word) if word else "" for word in text.split(" "))
    return isolated(plotly_text(words if width is None or len(words) <= width else words[: width - 1] + "…"))


def plotly_text(text: str) -> str:
    """Text that Plotly draws literally: it reads <b>, &amp;, $tex$ and, in hover text, %{x}."""
    return "".join(PLOTLY_ENTITIES.get(c, c) for c in text)


def isolated(text: str) -> str:
    """The text in a Unicode isolate where it holds right-to-left characters."""
    if any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in text):
        return f"{ISOLATE}{text}{END_ISOLATE}"
    return text


class LogProbability(str):
    """A token whose log-probability, not whose logit, is explained: in place of the token's text."""

    __slots__ = ()


def target_name(explained: Explained) -> str:
    """What is explained: a token's logit, what it has above the mean logit along a log-probability, or a difference."""
    if not isinstance(explained, str):
        return "difference"
    return "logit above the mean" if isinstance(explained, LogProbability) else "logit"


def logit_label(explained: Explained, width: int | None = 16) -> str:
    """What is explained, for Plotly's text: one token's logit, or the difference of two."""
    if isinstance(explained, str):
        return f"{target_name(explained)} of {token_label(explained, width)}"
    return " − ".join(f"logit of {token_label(token, width)}" for token in explained)


def format_number(x: SupportsFloat, *, signed: bool = False) -> str:
    """Three significant digits: 63.9, 0.0123, 1.23e-3, 1.23e4; zero is "0". Python's float() reads it back."""
    x = float(x)
    if x == 0:
        return "0"
    plus = "+" if signed and x > 0 else ""
    if not math.isfinite(x):
        return plus + str(x)
    mantissa, exponent = f"{x:.2e}".split("e")
    power = int(exponent)
    low, high = SIGNIFICANT_FIXED
    if low <= power <= high:
        return f"{plus}{float(f'{x:.2e}'):.{2 - power}f}"
    return f"{plus}{mantissa}e{power}"


def format_error(x: SupportsFloat) -> str:
    """Two significant digits with an exponent, for errors over many orders of magnitude: 1.5e-15; zero is "0"."""
    x = float(x)
    if x == 0 or not math.isfinite(x):
        return "0" if x == 0 else str(x)
    mantissa, exponent = f"{x:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def printed(x: SupportsFloat, *, signed: bool = False) -> str:
    """`format_number` with the minus sign that Plotly's own axes print."""
    text = format_number(x, signed=signed)
    return "−" + text[1:] if text.startswith("-") else text


def _visible_character(token: str, i: int) -> str:
    c = token[i]
    if c in VISIBLE:
        return VISIBLE[c]
    category = unicodedata.category(c)
    joins_emoji = (
        c == JOINER
        and 0 < i < len(token) - 1
        and (unicodedata.category(token[i - 1]) == "So" or token[i - 1] in VARIATION_SELECTORS)
        and unicodedata.category(token[i + 1]) == "So"
    )
    follows_a_symbol = c in VARIATION_SELECTORS and i > 0 and unicodedata.category(token[i - 1])[0] in "SN"
    # C*: control, format (zero-width, direction), surrogate, private use; Z*: spaces that look like others or like none
    invisible = category in ("Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp") or c in VARIATION_SELECTORS
    if not invisible or joins_emoji or follows_a_symbol:
        return c
    if c == "\r":
        return "\\r"
    code = ord(c)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
