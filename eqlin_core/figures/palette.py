"""Colours: one look per theme, the token ramp, and the diverging scale centred at zero.

Both scales are built in OKLab, where equal steps look equal; lightness runs monotonically, so they survive colour
blindness and grey printing.
"""

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, cycle, pairwise
from typing import Literal

Theme = Literal["light", "dark"]

SANS = '"Source Sans", "Source Sans 3", "Source Sans Pro", system-ui, -apple-system, "Segoe UI", sans-serif'
MONO = '"Source Code Pro", ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace'


@dataclass(frozen=True)
class Look:
    """The colours of one theme; `accent` marks what is selected or summed up, and is the positive pole as well."""

    background: str  # of the page; and of figures; the zero of the diverging scale as well
    text: str
    muted: str
    grid: str
    accent: str
    positive: str
    negative: str
    total: str  # bars that are sums, neither for nor against
    ramp: tuple[tuple[float, float, float], tuple[float, float, float]]  # first and last token: OKLCH L, C, hue
    kinds: tuple[
        str, ...
    ]  # of things without order or sign, beside the accent: violet, gold, green, wine or rose, slate


LOOKS: dict[str, Look] = {
    "light": Look(
        background="#ffffff",
        text="#1a1d21",
        muted="#5b636e",
        grid="#e6e8eb",
        accent="#1f5fa8",
        positive="#1f5fa8",
        negative="#b8501a",
        total="#6b7480",
        ramp=((0.40, 0.16, 300.0), (0.74, 0.15, 95.0)),
        kinds=("#9e80d1", "#d4ab4f", "#379a7f", "#692845", "#9ab4d0"),
    ),
    "dark": Look(
        background="#0e1117",
        text="#e6e8eb",
        muted="#9aa3ad",
        grid="#252a32",
        accent="#6cb0f5",
        positive="#6cb0f5",
        negative="#f2935a",
        total="#8a939e",
        ramp=((0.58, 0.16, 300.0), (0.88, 0.15, 95.0)),
        kinds=("#7a5da9", "#a1790c", "#206c58", "#fdbdca", "#7f8e9e"),
    ),
}

FADED = 0.45  # how much is left of the colour of what is not highlighted
KINDS = ("attention", "norms", "gates", "softmax")  # what always has the same one of `Look.kinds`
_SAME = {"mixer": "attention"}  # and what has another's, as it stands in its place
DIVERGING_STOPS = 33  # of the colour scale a heat map gets; between them the browser interpolates in sRGB


def look(theme: Theme) -> Look:
    """The colours of a theme; raises ValueError for a name that is neither "light" nor "dark"."""
    if theme not in LOOKS:
        raise ValueError(f'theme is "light" or "dark", not {theme!r}.')
    return LOOKS[theme]


def token_colours(T: int, theme: Theme = "light") -> list[str]:
    """T colours, one a token position: a perceptual ramp from the first token (dark) to the last (bright)."""
    return list(_ramp(T, theme))


def token_scale(theme: Theme = "light") -> list[tuple[float, str]]:
    """The token ramp as a Plotly colour scale, for a colour bar that runs over positions."""
    colours = token_colours(DIVERGING_STOPS, theme)
    return [(i / (DIVERGING_STOPS - 1), colour) for i, colour in enumerate(colours)]


def kind_colours(names: Sequence[str], theme: Theme = "light") -> list[str]:
    """A colour for each name: the accent for the first, its own for each of `KINDS`, of `Look.kinds` for the others.

    Told apart in every colour blindness while there are at most 1 + len(Look.kinds); beyond that they come again.
    """
    colours = look(theme)
    own = dict(zip(KINDS, colours.kinds, strict=False))
    own |= {name: own[other] for name, other in _SAME.items()}
    taken = {own[name] for name in names[1:] if name in own}
    free = cycle([colour for colour in colours.kinds if colour not in taken] or colours.kinds)
    return [colours.accent, *(own[name] if name in own else next(free) for name in names[1:])][: len(names)]


def pair_colours(theme: Theme = "light") -> tuple[str, str]:
    """The colours of two runs that are compared, A and B: two of `Look.kinds`, far apart in lightness as well."""
    kinds = look(theme).kinds
    return kinds[0], kinds[3]


def other_colours(theme: Theme = "light") -> tuple[str, ...]:
    """Those of what stands beside two compared runs and is of neither alone."""
    colours = look(theme)
    return colours.accent, colours.kinds[2], colours.kinds[1], colours.kinds[4]


def diverging_colour(value: float, limit: float, theme: Theme = "light") -> tuple[str, str]:
    """(background, text) of a value on the scale from -limit to limit; zero and NaN are the page's background.

    The text has a contrast of at least 4.5 on the background (WCAG AA).
    """
    t = value / limit if limit > 0 and not math.isnan(value) else 0.0
    t = max(-1.0, min(1.0, t))
    colours = look(theme)
    pole = colours.positive if t > 0 else colours.negative
    background = _mix(colours.background, pole, abs(t))
    return background, readable_text(background, theme)


def diverging_scale(theme: Theme = "light", reach: float = 1.0) -> list[tuple[float, str]]:
    """The same scale for Plotly, from -limit (0.0) over zero (0.5) to limit (1.0); paler with a reach below 1."""
    steps = [i / (DIVERGING_STOPS - 1) for i in range(DIVERGING_STOPS)]
    return [(s, diverging_colour(reach * (2 * s - 1), 1.0, theme)[0]) for s in steps]


def sequential_colour(share: float, theme: Theme = "light") -> tuple[str, str]:
    """(background, text) of a share from 0, the page's background, to 1, the accent."""
    return diverging_colour(max(0.0, share), 1.0, theme)


def sequential_scale(theme: Theme = "light", reach: float = 1.0) -> list[tuple[float, str]]:
    """The same scale for Plotly; paler with a reach below 1."""
    steps = [i / (DIVERGING_STOPS - 1) for i in range(DIVERGING_STOPS)]
    return [(s, sequential_colour(reach * s, theme)[0]) for s in steps]


def readable_text(background: str, theme: Theme = "light") -> str:
    """The theme's text colour where it has contrast 4.5 on the background, else black or white, whichever has more."""
    wanted = look(theme).text
    if contrast_ratio(wanted, background) >= 4.5:
        return wanted
    return max(("#000000", "#ffffff"), key=lambda text: contrast_ratio(text, background))


def signed_colours(values: Sequence[float], theme: Theme = "light") -> list[str]:
    """The positive or the negative pole for each value."""
    colours = look(theme)
    return [colours.negative if value < 0 else colours.positive for value in values]


def contrast_ratio(a: str, b: str) -> float:
    """WCAG contrast of two #rrggbb colours, from 1 to 21."""
    bright, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def highlighted(colours: Sequence[str], chosen: int | None, theme: Theme = "light") -> list[str]:
    """The colours with all but the chosen one faded into the page; all as they are where none is chosen."""
    if chosen is None:
        return list(colours)
    page = look(theme).background
    return [colour if i == chosen else _mix(page, colour, FADED) for i, colour in enumerate(colours)]


@lru_cache(maxsize=64)
def _ramp(T: int, theme: Theme) -> tuple[str, ...]:
    path = _ramp_path(theme)
    lengths = [0.0, *accumulate(math.dist(a, b) for a, b in pairwise(path))]
    colours = []
    for i in range(T):  # equal steps along the path, since sRGB cuts the chroma of some hues short
        reach = lengths[-1] * i / (T - 1) if T > 1 else 0.0
        j = min(max(bisect(lengths, reach) - 1, 0), len(path) - 2)
        t = (reach - lengths[j]) / (lengths[j + 1] - lengths[j])
        colours.append(_to_hex(*(a + (b - a) * t for a, b in zip(path[j], path[j + 1], strict=True))))
    return tuple(colours)


def _ramp_path(theme: Theme, points: int = 65) -> list[tuple[float, float, float]]:
    """OKLab points from the first to the last colour of the ramp, straight in lightness, chroma and hue."""
    first, last = look(theme).ramp
    steps = [i / (points - 1) for i in range(points)]
    return [_oklch_in_gamut(*(a + (b - a) * t for a, b in zip(first, last, strict=True))) for t in steps]


def _luminance(colour: str) -> float:
    r, g, b = _linear(colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _mix(a: str, b: str, t: float) -> str:
    lab_a, lab_b = _to_oklab(a), _to_oklab(b)
    return _to_hex(*(x + (y - x) * t for x, y in zip(lab_a, lab_b, strict=True)))


def _linear(colour: str) -> tuple[float, float, float]:
    r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (r, g, b))  # type: ignore[return-value]


def _to_oklab(colour: str) -> tuple[float, float, float]:
    """OKLab (Ottosson 2020) of an sRGB colour."""
    r, g, b = _linear(colour)
    l_ = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    m_ = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    s_ = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * l_ + 0.7936177850 * m_ - 0.0040720468 * s_,
        1.9779984951 * l_ - 2.4285922050 * m_ + 0.4505937099 * s_,
        0.0259040371 * l_ + 0.7827717662 * m_ - 0.8086757660 * s_,
    )


def _oklab_to_linear(lightness: float, a: float, b: float) -> tuple[float, float, float]:
    l_ = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m_ = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s_ = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * l_ - 3.3077115913 * m_ + 0.2309699292 * s_,
        -1.2684380046 * l_ + 2.6097574011 * m_ - 0.3413193965 * s_,
        -0.0041960863 * l_ - 0.7034186147 * m_ + 1.7076147010 * s_,
    )


def _to_hex(lightness: float, a: float, b: float) -> str:
    def encode(c: float) -> int:
        c = max(0.0, min(1.0, c))
        return round(255 * (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055))

    return "#{:02x}{:02x}{:02x}".format(*(encode(c) for c in _oklab_to_linear(lightness, a, b)))


def _oklch_in_gamut(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """OKLab with as much of the chroma as sRGB can show at this lightness and hue."""
    angle = math.radians(hue)
    while chroma > 0.005:
        a, b = chroma * math.cos(angle), chroma * math.sin(angle)
        if all(-1e-4 <= c <= 1 + 1e-4 for c in _oklab_to_linear(lightness, a, b)):
            break
        chroma -= 0.005
    return lightness, chroma * math.cos(angle), chroma * math.sin(angle)
