import itertools
import math

import numpy as np
import pytest

from eqlin_core.figures import diverging_colour, token_colours
from eqlin_core.figures.palette import LOOKS, _to_oklab, contrast_ratio, diverging_scale, highlighted

THEMES = ["light", "dark"]


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
