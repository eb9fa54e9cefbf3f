import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlin_core.figures import compared_spectra, compared_terms, subspace_angles
from eqlin_core.figures.palette import LOOKS, pair_colours
from tests import profiles  # noqa: F401 - chosen when it is imported

# The capital of France is -> The old capital of Italy is
PAIRS = [("The", "The"), (None, " old"), (" France", " Italy"), (" is", None)]
A = np.array([4.0, np.nan, 1.0, 0.5])
B = np.array([1.0, 0.25, 3.0, np.nan])


def chart(**changes):
    options: dict[str, Any] = {
        "terms_a": A,
        "terms_b": B,
        "tokens": PAIRS,
        "constants": (0.5, 0.75),
        "totals": (6.0, 5.0),
        "explained": (" Paris", " Rome"),
    }
    return compared_terms(**(options | changes))


def many(n: int) -> dict[str, Any]:
    """Runs of n tokens whose terms are known, and change by as much as their place says."""
    a, b = np.cos(np.arange(n)), np.cos(np.arange(n)) + np.arange(1, n + 1) / n
    totals = (1.0 + math.fsum(a), 2.0 + math.fsum(b))
    return {"terms_a": a, "terms_b": b, "tokens": [(f"t{i}", f"t{i}") for i in range(n)], "constants": (1.0, 2.0)} | {
        "totals": totals
    }


def traces(figure) -> dict[str, Any]:
    return {trace.name.split(":")[0]: trace for trace in figure.data}


def test_the_steps_lead_from_the_total_of_a_to_that_of_b():
    found = traces(chart().figure)
    steps = found["change"]
    assert list(steps.x) == [0.25, -3.0, 0.25, 2.0, -0.5]
    assert list(steps.base) == [6.0, 6.25, 3.25, 3.5, 5.5]
    assert (list(found["total of A"].x), list(found["total of A"].y)) == ([6.0], [0])
    assert (list(found["total of B"].x), list(found["total of B"].y)) == ([5.0], [6])
    assert steps.base[-1] + steps.x[-1] == 5.0
    look = LOOKS["light"]
    assert list(steps.marker.color) == [look.negative if x < 0 else look.positive for x in steps.x]


def test_every_run_has_its_marks_where_it_has_a_token_in_its_own_colour_and_shape():
    found = traces(chart(theme="dark").figure)
    assert (list(found["A"].x), list(found["A"].y)) == ([0.5, 4.0, 1.0, 0.5], [1, 2, 4, 5])
    assert (list(found["B"].x), list(found["B"].y)) == ([0.75, 1.0, 0.25, 3.0], [1, 2, 3, 4])
    assert (found["A"].marker.color, found["B"].marker.color) == pair_colours("dark")
    assert found["A"].marker.symbol != found["B"].marker.symbol
    assert found["A"].name == "A: logit of ·Paris = 6.00"


def test_rows_say_what_becomes_of_a_token():
    layout = chart().figure.layout
    labels = ["<b>A</b>", "<i>constant</i>", "The", "– → ·old", "·France → ·Italy", "·is → –", "<b>B</b>"]
    assert list(layout.yaxis.ticktext) == labels
    assert "a → b: another token in B<br>–: no token" in layout.xaxis.title.text
    hover = traces(chart().figure)["A"].customdata
    assert hover[2] == "·France → ·Italy<br>position 1 in A, position 2 in B<br>A +1.00<br>B +3.00<br>change +2.00"
    same = chart(tokens=[("a", "a")], terms_a=A[:1], terms_b=B[:1], totals=(4.5, 1.75))
    assert same.figure.layout.xaxis.title.text == "term in A and in B"


@pytest.mark.parametrize("top", [1, 5, 24])
def test_of_many_tokens_the_largest_changes_have_rows_and_the_others_one_so_that_all_still_sum(top):
    drawn = compared_terms(**many(60), explained=("x", "x"), top=top)
    steps = traces(drawn.figure)["change"]
    labels = list(drawn.figure.layout.yaxis.ticktext)
    kept = [60 - top + i for i in range(top)]
    assert labels[2:-2] == [f"{i} t{i}" for i in kept]
    assert labels[-2] == f"<i>{60 - top} other tokens</i>"
    assert math.fsum([steps.base[0], *steps.x]) == pytest.approx(drawn.table["b"][-1], abs=1e-12)
    assert f"the {top} largest of 60" in drawn.figure.layout.xaxis2.title.text
    assert sum(drawn.table["in_other_tokens"]) == 60 - top
    assert len(drawn.table["a"]) == 63


@pytest.mark.parametrize("n", [1, 4, 25, 60])
def test_a_figure_is_as_high_as_its_rows_need_and_no_higher_than_a_screen(n):
    figure = compared_terms(**many(n), explained=("x", "x")).figure
    rows = len(figure.layout.yaxis.ticktext)
    assert rows == 3 + (n if n <= 25 else 25)
    assert 22 * rows < figure.layout.height < 900


def test_the_table_has_every_part_and_the_way():
    table = chart().table
    assert table["part"] == ["constant", *["token"] * 4, "rounding", "total"]
    assert table["position_a"] == ["", 0, "", 1, 2, "", ""]
    assert table["position_b"] == ["", 0, 1, 2, "", "", ""]
    assert table["token_b"] == ["", "The", " old", " Italy", "", "", ""]
    assert table["a"] == [0.5, 4.0, "", 1.0, 0.5, "", 6.0]
    assert table["b"] == [0.75, 1.0, 0.25, 3.0, "", "", 5.0]
    assert table["change"] == [0.25, -3.0, 0.25, 2.0, -0.5, 0.0, -1.0]
    assert table["so_far"] == [6.25, 3.25, 3.5, 5.5, 5.0, 5.0, 5.0]


def test_rounding_has_a_row_where_it_is_seen_and_is_neither_for_nor_against():
    assert not any("rounding" in label for label in chart().figure.layout.yaxis.ticktext)
    rounded = chart(totals=(6.0, 4.5), bound=0.6)
    assert rounded.figure.layout.yaxis.ticktext[-2] == "<i>rounding</i>"
    steps = traces(rounded.figure)["change"]
    assert (steps.x[-1], steps.marker.color[-1]) == (-0.5, LOOKS["light"].total)
    assert rounded.table["change"][-2] == -0.5


@given(n=st.integers(1, 20), top=st.integers(0, 8), seed=st.integers(0, 10**6), scale=st.integers(-6, 6))
def test_whatever_is_grouped_the_steps_sum_to_the_difference_of_the_totals(n, top, seed, scale):
    random = np.random.default_rng(seed)
    a, b = 10.0**scale * random.normal(size=(2, n))
    constants = tuple(random.normal(size=2).tolist())
    totals = math.fsum([constants[0], *a]), math.fsum([constants[1], *b])
    drawn = compared_terms(a, b, [("x", "y")] * n, constants=constants, totals=totals, explained=("x", "x"), top=top)
    steps = traces(drawn.figure)["change"]
    close = 1e-12 * (np.abs(a).sum() + np.abs(b).sum() + 10)
    assert len(steps.x) == 1 + (n if n <= top + 1 else top + 1)
    assert math.fsum(steps.x) == pytest.approx(totals[1] - totals[0], abs=close)
    np.testing.assert_allclose(np.array(steps.base)[:-1] + steps.x[:-1], steps.base[1:], atol=close)


def test_a_row_that_dwarfs_the_others_is_a_number_at_the_end_of_the_axis():
    a = np.array([-90.0, 1.0, 0.5, 0.25, 0.125])
    b = np.array([-80.0, 0.5, 1.0, 0.25, 0.125])
    options = {"tokens": [(f"t{i}", f"t{i}") for i in range(5)], "constants": (0.0, 0.0)}
    figure = chart(terms_a=a, terms_b=b, totals=(a.sum(), b.sum()), **options).figure
    (said,) = figure.layout.annotations
    assert (said.text, said.y, said.xanchor) == ("◂ −90.0 → −80.0", 2, "left")
    assert min(traces(figure)["A"].x) >= 0
    assert "beyond the axis" in figure.layout.xaxis.title.text
    both = chart(terms_a=a, terms_b=b, totals=(a.sum() + 95, b.sum() + 95), **(options | {"constants": (95.0, 95.0)}))
    assert [said.text for said in both.figure.layout.annotations] == ["95.0 → 95.0 ▸", "◂ −90.0 → −80.0"]
    assert not chart().figure.layout.annotations


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"totals": (6.0, 5.1)}, "miss that of the totals by 0.1"),
        ({"totals": (6.0, 4.5), "bound": 0.4}, "more than 0.4"),
        ({"totals": (6.0, math.nan)}, "nan"),
        ({"tokens": PAIRS[:3]}, "4 and 4 terms for 3 aligned tokens"),
        ({"terms_a": A[:0], "terms_b": B[:0], "tokens": []}, "0 and 0 terms for 0"),
        ({"terms_a": np.array([np.nan, np.nan, 1.0, 0.5])}, "Row 0 has a token without a term in A"),
        ({"terms_b": np.array([1.0, 0.25, 3.0, 2.0])}, "Row 3 .* a term without a token"),
    ],
)
def test_what_does_not_fit_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        chart(**changes)


S = np.array([[4.0, 2.0, 1.0], [8.0, 4.0, 0.0]])
TWO = [("a", "a"), (" France", " Italy")]


def test_spectra_of_both_runs_lie_over_each_other():
    drawn = compared_spectra(S, S / 2, TWO)
    lines = drawn.figure.data
    assert [line.name for line in lines] == ["A", "B", "A", "B"]
    assert [line.line.dash for line in lines[:2]] == ["solid", "dash"]
    assert [line.line.color for line in lines[:2]] == list(pair_colours())
    np.testing.assert_array_equal(lines[1].y, S[0] / 2)
    assert math.isnan(lines[2].y[2]), "zero has no place on a logarithmic axis"
    assert drawn.table["sigma_b"] == (S / 2).ravel().tolist()
    assert drawn.table["token_b"] == ["a"] * 3 + [" Italy"] * 3
    assert [line.showlegend for line in lines].count(True) == 2
    assert "·France → ·Italy" in lines[2].hovertemplate


def test_normalised_spectra_start_at_one_and_a_highlighted_pair_lies_on_top():
    lines = compared_spectra(S, S / 2, TWO, normalised=True, highlight=0).figure.data
    assert [line.y[0] for line in lines] == [1.0] * 4
    assert [line.opacity for line in lines] == [0.5, 0.5, 1.0, 1.0]
    np.testing.assert_array_equal(lines[-2].y, S[0] / 4)
    with pytest.raises(ValueError, match="2 spectra of each run for 1 aligned"):
        compared_spectra(S, S, TWO[:1])


def test_principal_angles_are_lines_by_index_between_0_and_90_degrees():
    drawn = subspace_angles({"written: u": np.array([0.0, 45.0]), "read: v": np.array([90.0])}, name="·a → ·b")
    u, v = drawn.figure.data
    assert (list(u.x), list(u.y), list(v.y)) == ([1, 2], [0.0, 45.0], [90.0])
    assert u.marker.symbol != v.marker.symbol
    assert len({u.line.color, v.line.color, *pair_colours()}) == 4, "and they are neither A's nor B's"
    assert drawn.figure.layout.yaxis.title.text == "principal angle of ·a → ·b"
    assert drawn.table == {
        "subspaces": ["written: u"] * 2 + ["read: v"],
        "index": [1, 2, 1],
        "degrees": [0.0, 45.0, 90.0],
    }


@pytest.mark.parametrize(
    ("angles", "said"),
    [
        ({}, "0 pairs"),
        ({str(i): np.zeros(1) for i in range(5)}, "5 pairs"),
        ({"u": np.array([91.0])}, "0 to 90 .* 'u'"),
    ],
)
def test_angles_that_are_none_are_refused(angles, said):
    with pytest.raises(ValueError, match=said):
        subspace_angles(angles)
