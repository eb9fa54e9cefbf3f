import math

import numpy as np
import pytest

from eqlin_core.figures import format_error, format_number, visible_token
from eqlin_core.figures.labels import logit_label, printed, text_label, token_label


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" bridge", "·bridge"),
        ("  ", "··"),
        ("\n", "⏎"),
        ("\t\n", "⇥⏎"),
        ("\r", "\\r"),
        ("", "∅"),
        ("\x00", "\\x00"),
        ("\u200b", "\\u200b"),
        ("\u202eabc", "\\u202eabc"),
        ("\xa0", "\\xa0"),
        ("\u3000", "\\u3000"),
        ("\u200d", "\\u200d"),
        ("👩‍🚀", "👩‍🚀"),
        ("❤\ufe0f", "❤\ufe0f"),
        ("\U000e0041", "\\U000e0041"),
        ("\u0301", "◌\u0301"),
        ("e\u0301", "e\u0301"),
        ("漢字", "漢字"),
    ],
)
def test_what_has_no_glyph_becomes_visible_and_everything_else_stays(token, shown):
    assert visible_token(token) == shown


def test_a_long_token_ends_in_an_ellipsis():
    assert visible_token("a" * 80, 16) == "a" * 15 + "…"
    assert visible_token("a" * 16, 16) == "a" * 16


@pytest.mark.parametrize("width", range(2, 14))
def test_an_ellipsis_never_cuts_an_escape_or_an_emoji_sequence(width):
    cut = visible_token("ab\u200b\u200bcd", width)
    assert len(cut) <= width
    assert cut.rstrip("…") in ("", "a", "ab", "ab\\u200b", "ab\\u200b\\u200b", "ab\\u200b\\u200bcd")
    assert not visible_token("👩‍🚀" * 6, width).rstrip("…").endswith("\u200d")


def test_plotly_markup_in_a_token_is_disarmed():
    assert token_label("<b>") == "&lt;b&gt;"
    assert token_label("&lt;") == "&amp;lt;"
    assert "$" not in token_label("$x$")
    assert "%{" not in token_label("%{x}")


def test_right_to_left_tokens_are_isolated_and_others_are_not():
    assert token_label(" שלום") == "\u2068·שלום\u2069"
    assert token_label(" bridge") == "·bridge"


def test_the_logit_label_names_one_token_or_a_difference():
    assert logit_label(" Golden") == "logit of ·Golden"
    assert logit_label((" Golden", "<b>")) == "logit of ·Golden − logit of &lt;b&gt;"


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (63.93, "63.9"),
        (0.5, "0.500"),
        (-0.0123456, "-0.0123"),
        (0.00123, "1.23e-3"),
        (999.4, "999"),
        (999.6, "1.00e3"),
        (9.996, "10.0"),
        (0.009999, "0.0100"),
        (12345, "1.23e4"),
        (1e-300, "1.00e-300"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_have_three_significant_digits(x, text):
    assert format_number(x) == text


def test_a_printed_number_reads_back_to_half_a_unit_of_its_third_digit():
    random = np.random.default_rng(0)
    for x in random.normal(size=500) * 10.0 ** random.integers(-9, 9, 500):
        assert math.isclose(float(format_number(x, signed=True)), x, rel_tol=5.001e-3)


def test_signs_are_shown_where_asked_for():
    assert format_number(1.0, signed=True) == "+1.00"
    assert format_number(0.0, signed=True) == "0"
    assert printed(-0.00123) == "−1.23e-3"


@pytest.mark.parametrize(("x", "text"), [(1.52e-15, "1.5e-15"), (0, "0"), (0.0099, "9.9e-3"), (1.0, "1.0e0")])
def test_errors_have_two_digits_and_an_exponent(x, text):
    assert format_error(x) == text


def test_words_keep_their_spaces_and_lose_their_markup():
    assert text_label("log-probability of ·Paris") == "log-probability of ·Paris"
    assert text_label("logit of <b>\n") == "logit of &lt;b&gt;⏎"
    assert text_label("a  b") == "a  b"
    assert text_label("integrated gradients", 12) == "integrated …"
