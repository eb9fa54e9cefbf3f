from html.parser import HTMLParser

import numpy as np
import pytest

from eqlin_core.figures import chips_html, diverging_colour
from eqlin_core.figures.palette import LOOKS

from .cases import HARD, MARIN, prompt


class Chips(HTMLParser):
    """The chips of a block as a browser would read them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.chips: list[dict[str, str]] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "span":
            self.chips.append({**{k: v or "" for k, v in attrs}, "text": ""})

    def handle_data(self, data):
        self.chips[-1]["text"] += data


def chips(tokens, values, **options) -> list[dict[str, str]]:
    return Chips(chips_html(tokens, values, **options)).chips


def test_there_is_a_chip_for_every_token_and_no_token_becomes_markup():
    tokens = [*prompt(60), '"><script>alert(1)</script>', "' onclick='x"]
    read = Chips(chips_html(tokens, np.zeros(len(tokens))))
    assert len(read.chips) == len(tokens)
    assert read.tags == {"div", "span", "br"}
    assert read.chips[-2]["text"] == '"><script>alert(1)</script>'
    assert "onclick" not in read.chips[-1]


def test_a_chip_has_the_diverging_colour_of_its_value():
    values = np.array([1.0, -2.0, 0.0])
    for theme in ("light", "dark"):
        for chip, value in zip(chips(["a", "b", "c"], values, limit=4.0, theme=theme), values, strict=True):
            background, text = diverging_colour(value, 4.0, theme)
            assert f"background-color:{background};color:{text};" in chip["style"]


def test_the_largest_size_sets_the_scale_unless_a_limit_is_given():
    assert LOOKS["light"].negative in chips(["a", "b"], [1.0, -2.0])[1]["style"]
    assert LOOKS["light"].negative not in chips(["a", "b"], [1.0, -2.0], limit=4.0)[1]["style"]


def test_the_tooltip_says_token_position_value_and_what_it_explains():
    assert (
        chips(MARIN, np.arange(7.0), explained=" Golden")[1]["title"]
        == "·bridge  position 1: +1.00 of the logit of ·Golden"
    )
    assert chips(["a"], [0.5], explained=("b", "c"))[0]["title"].endswith("+0.500 of the logit of b − logit of c")


def test_only_the_selected_chip_is_outlined():
    assert ["outline:2px" in chip["style"] for chip in chips(MARIN, np.zeros(7), selected=2)] == [
        i == 2 for i in range(7)
    ]


def test_spaces_are_visible_and_lines_break_after_a_newline():
    html = chips_html([" a", "\n", "b"], np.zeros(3))
    assert [chip["text"] for chip in Chips(html).chips] == ["·a", "⏎", "b"]
    assert html.count("<br>") == 1


def test_a_chip_isolates_the_direction_of_its_text():
    assert all(chip["dir"] == "auto" for chip in chips(HARD, np.zeros(len(HARD))))


def test_values_that_are_not_numbers_leave_the_chip_uncoloured():
    assert LOOKS["light"].background in chips(["a", "b"], [float("nan"), 1.0])[0]["style"]


def test_values_and_tokens_of_different_number_are_refused():
    with pytest.raises(ValueError, match="2 values for 1 tokens"):
        chips_html(["a"], [1.0, 2.0])
