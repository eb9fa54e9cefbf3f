"""Facts in one line: what is a token's text never becomes the page's markup."""

from __future__ import annotations

from pages.widgets.facts import fact, strip_of


def test_a_fact_shows_its_texts_as_they_are() -> None:
    shown = fact("probability of </b><i>", "1 < 2", '"quoted"')
    assert "<b>probability of &lt;/b&gt;&lt;i&gt;</b> 1 &lt; 2" in shown
    assert 'title="&quot;quoted&quot;"' in shown


def test_what_stands_beside_a_value_is_markup() -> None:
    assert fact("KL", "0.1", beside="<i>random</i>").endswith("<b>KL</b> 0.1<i>random</i></span>")


def test_facts_stand_in_one_strip() -> None:
    assert strip_of(fact("σ", "2"), fact("k", "1")).count('class="eq-fact"') == 2
