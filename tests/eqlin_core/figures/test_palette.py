import itertools
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest

from eqlin_core.figures import diverging_colour, token_colours
from eqlin_core.figures.palette import (
    LOOKS,
    _linear,
    _to_oklab,
    contrast_ratio,
    diverging_scale,
    highlighted,
    kind_colours,
    pair_colours,
)

THEMES = ["light", "dark"]
PARTS = ["exact map", "attention", "norms", "gates", "softmax", "another"]
# Linear sRGB as it looks without the long, the middle or the short cones (Machado, Oliveira and Fernandes 2009).
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def seen(colour: str, blindness: str) -> tuple[float, float, float]:
    """OKLab of a colour as it looks to a colour-blind eye."""
    linear = np.clip(np.array(BLINDNESS[blindness]) @ np.array(_linear(colour)), 0, 1)
    encoded = [round(255 * (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055)) for c in linear]
    return _to_oklab("#{:02x}{:02x}{:02x}".format(*encoded))


def brightness(colour: str) -> float:
    return contrast_ratio(colour, "#000000")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("T", [1, 2, 7, 40])
def test_every_position_has_its_own_colour_and_brightness_rises_along_the_prompt(theme, T):
    colours = token_colours(T, theme)
    assert len(colours) == len(set(colours)) == T
    levels = [brightness(colour) for colour in colours]
    assert levels == sorted(levels)


@pytest.mark.parametrize("theme", THEMES)
def test_token_colours_stand_out_from_the_page(theme):
    page = LOOKS[theme].background
    assert min(contrast_ratio(colour, page) for colour in token_colours(400, theme)) > 2


@pytest.mark.parametrize("theme", THEMES)
def test_neighbouring_tokens_of_a_short_prompt_differ_visibly(theme):
    steps = [math.dist(_to_oklab(a), _to_oklab(b)) for a, b in itertools.pairwise(token_colours(7, theme))]
    assert min(steps) > 0.06  # 0.02 is what one just notices
    assert max(steps) < 1.25 * min(steps)


@pytest.mark.parametrize("theme", THEMES)
def test_zero_has_the_colour_of_the_page_in_chips_and_in_the_heat_map(theme):
    page = LOOKS[theme].background
    assert diverging_colour(0.0, 3.0, theme)[0] == page
    assert diverging_colour(float("nan"), 3.0, theme)[0] == page
    assert diverging_colour(2.0, 0.0, theme)[0] == page
    scale = diverging_scale(theme)
    assert scale[len(scale) // 2] == (0.5, page)


@pytest.mark.parametrize("theme", THEMES)
def test_the_diverging_scale_ends_in_its_poles_and_stays_there(theme):
    assert diverging_colour(3.0, 3.0, theme)[0] == LOOKS[theme].positive == diverging_colour(30.0, 3.0, theme)[0]
    assert diverging_colour(-3.0, 3.0, theme)[0] == LOOKS[theme].negative == diverging_colour(-30.0, 3.0, theme)[0]


@pytest.mark.parametrize("theme", THEMES)
def test_equal_sizes_are_equally_strong_on_both_sides_of_zero(theme):
    page = LOOKS[theme].background
    for size in np.linspace(0.1, 1, 10):
        for_, against = (contrast_ratio(diverging_colour(s * size, 1.0, theme)[0], page) for s in (1, -1))
        assert for_ == pytest.approx(against, rel=0.35)


@pytest.mark.parametrize("theme", THEMES)
def test_text_on_every_diverging_colour_has_contrast_of_at_least_4_5(theme):
    pairs = [diverging_colour(value, 1.0, theme) for value in np.linspace(-1, 1, 401)]
    assert min(contrast_ratio(background, text) for background, text in pairs) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_text_and_muted_text_read_on_the_page(theme):
    look = LOOKS[theme]
    assert contrast_ratio(look.text, look.background) >= 7
    assert contrast_ratio(look.muted, look.background) >= 4.5
    assert min(contrast_ratio(c, look.background) for c in (look.accent, look.positive, look.negative)) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_text_reads_on_every_ground_of_the_pages_too(theme):
    with (Path(__file__).parents[3] / ".streamlit" / "config.toml").open("rb") as file:
        page = tomllib.load(file)["theme"][theme]
    look = LOOKS[theme]
    assert (page["backgroundColor"], page["textColor"]) == (look.background, look.text)
    for ground in (page["backgroundColor"], page["secondaryBackgroundColor"]):
        assert min(contrast_ratio(colour, ground) for colour in (look.text, look.muted)) >= 4.5


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("theme", THEMES)
def test_kinds_are_told_apart_from_one_another_and_from_against_in_every_colour_blindness(theme, blindness):
    colours = [*kind_colours(PARTS, theme), LOOKS[theme].negative]
    distances = [math.dist(seen(a, blindness), seen(b, blindness)) for a, b in itertools.combinations(colours, 2)]
    assert min(distances) > 0.09  # 0.02 is what one just notices


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("theme", THEMES)
def test_two_runs_are_told_apart_and_from_what_is_for_and_against_in_every_colour_blindness(theme, blindness):
    a, b = (seen(colour, blindness) for colour in pair_colours(theme))
    poles = [seen(colour, blindness) for colour in (LOOKS[theme].positive, LOOKS[theme].negative)]
    assert math.dist(a, b) > 0.25
    assert min(math.dist(run, pole) for run in (a, b) for pole in poles) > 0.11
    assert min(contrast_ratio(colour, LOOKS[theme].background) for colour in pair_colours(theme)) > 3


@pytest.mark.parametrize("theme", THEMES)
def test_kinds_stand_out_from_the_page(theme):
    page = LOOKS[theme].background
    assert min(contrast_ratio(colour, page) for colour in kind_colours(PARTS, theme)) > 2


@pytest.mark.parametrize("theme", THEMES)
def test_the_first_kind_has_the_accent_and_a_known_one_its_own_colour_whatever_stands_beside(theme):
    look = LOOKS[theme]
    assert kind_colours(PARTS, theme) == [look.accent, *look.kinds]
    assert kind_colours(["a", "gates", "b", "attention"], theme) == [
        look.accent,
        look.kinds[2],
        look.kinds[1],
        look.kinds[0],
    ]
    assert kind_colours([], theme) == []
    assert len(set(kind_colours(list("abcdef"), theme))) == 6


def test_contrast_of_black_on_white_is_21():
    assert contrast_ratio("#000000", "#ffffff") == pytest.approx(21)
    assert contrast_ratio("#777777", "#777777") == 1


def test_a_highlight_keeps_its_colour_and_fades_the_others():
    colours = token_colours(3)
    assert highlighted(colours, None) == colours
    faded = highlighted(colours, 1)
    assert faded[1] == colours[1]
    assert contrast_ratio(faded[0], "#ffffff") < contrast_ratio(colours[0], "#ffffff")


def test_an_unknown_theme_is_refused_by_name():
    with pytest.raises((ValueError, TypeError), match="sepia"):
        diverging_colour(1.0, 1.0, "sepia")  # type: ignore[arg-type]
