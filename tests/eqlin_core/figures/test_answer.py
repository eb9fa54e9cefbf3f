"""The heat map of a whole answer: its cells, what cannot be seen, the marks, and where the colours end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from eqlin_core.figures import Chart, answer_heatmap
from eqlin_core.figures import answer as module
from eqlin_core.figures.answer import CLIP, FEW_ROWS, colour_reach, every_cell_told
from eqlin_core.figures.labels import printed
from eqlin_core.figures.palette import LOOKS

TERMS = np.array([[9.0, 1.0, -2.0, 0.0, 0.0], [8.0, -1.0, 0.5, 0.25, 0.0]])
COLUMNS = ["<|im_start|>", "The", " bridge", " is", " red"]


def drawn(terms: np.ndarray = TERMS, **options: Any) -> Chart:
    R, C = terms.shape
    given: dict[str, Any] = {"values": terms.sum(1) - 10, "rest": np.full(R, -10.0), "seen": np.tri(R, C, C - R - 1)}
    rows = [" is", " red"] if R == 2 else [f" row {r}" for r in range(R)]
    columns = COLUMNS if len(COLUMNS) == C else [f" column {c}" for c in range(C)]
    return answer_heatmap(terms, rows, columns, **(given | options))


def words(chart: Chart) -> str:
    """What stands between the cells and the colour bar."""
    (annotation,) = chart.figure.layout.annotations
    return str(annotation.text)


def test_a_row_and_what_no_token_carries_sum_to_the_value_beside_it() -> None:
    chart = drawn()
    rows = [dict(zip(chart.table, cells, strict=True)) for cells in zip(*chart.table.values(), strict=True)]
    assert len(rows) == TERMS.size
    for r, value in enumerate(TERMS.sum(1) - 10):
        own = [row for row in rows if row["row"] == r]
        assert [row["text"] for row in own] == COLUMNS
        assert math.fsum(row["term"] for row in own) + own[0]["row_rest"] == own[0]["row_value"] == value
        assert str(chart.figure.layout.yaxis.ticktext[r]).endswith(printed(value))
    low, high = chart.figure.layout.yaxis.range
    assert low > high, "the answer is read downwards"


def test_what_a_row_cannot_see_is_empty_and_cannot_be_clicked() -> None:
    heat, points = drawn().figure.data
    assert np.isnan(heat.z).tolist() == [[False] * 3 + [True] * 2, [False] * 4 + [True]]
    assert sorted(zip(points.y, points.x, strict=True)) == [(r, c) for r in range(2) for c in range(3 + r)]
    assert [said[0] for said in points.customdata] == list(points.y), "a click tells the row"
    hidden = drawn(seen=None).figure.data[0].z
    assert not np.isnan(hidden).any()


def test_of_too_many_cells_each_row_is_told_of_and_clicked_at_the_last_one_that_it_sees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert every_cell_told(np.tri(2, 5, 2))
    monkeypatch.setattr(module, "MOST_POINTS", 6)
    assert not every_cell_told(np.tri(2, 5, 2))
    heat, points = drawn().figure.data
    assert [said[0] for said in points.customdata] == list(points.y) == [0, 1]
    assert list(points.x) == [2, 3]
    assert np.isfinite([heat.z[r, c] for r, c in zip(points.y, points.x, strict=True)]).all()
    assert [said[1].split("<br>")[0] for said in points.customdata] == ["·is", "·red"], "of the row, not of a cell"
    assert [said[1].split("<br>")[1] for said in points.customdata] == [
        f"log-probability {printed(value)}" for value in TERMS.sum(1) - 10
    ]
    monkeypatch.setattr(module, "MOST_POINTS", 4)
    seen = np.array([[0.0] * 5, [1.0] * 5])
    assert [said[0] for said in drawn(seen=seen).figure.data[1].customdata] == [1], "a row that sees nothing has none"


def test_the_chosen_row_is_framed_and_a_line_stands_where_the_answer_begins() -> None:
    figure = drawn(first=3, chosen=1).figure
    line, frame = figure.layout.shapes
    assert (line.type, line.x0, line.x1) == ("line", 2.5, 2.5)
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (-0.5, 4.5, 0.5, 1.5)
    assert [label.startswith("<b>") for label in figure.layout.yaxis.ticktext] == [False, True]
    assert not drawn(first=0).figure.layout.shapes, "an answer to nothing begins nowhere"


def test_the_templates_heads_are_paler() -> None:
    heads = drawn(muted=[True, *[False] * 4]).figure.layout.xaxis.ticktext
    assert LOOKS["light"].muted in heads[0]
    assert "color" not in "".join(heads[1:])


def test_the_column_with_the_largest_term_does_not_set_the_colours() -> None:
    others = np.abs(TERMS[:, 1:])
    assert colour_reach(TERMS) == pytest.approx(np.percentile(others[others > 0], CLIP))
    heat = drawn().figure.data[0]
    assert (heat.zmin, heat.zmax) == (-colour_reach(TERMS), colour_reach(TERMS))
    assert "largest 9" in words(drawn()), "and that is said"
    even = np.where(TERMS == 0, 0.0, np.sign(TERMS))
    assert colour_reach(even) == 1
    assert "largest" not in words(drawn(even))


@pytest.mark.parametrize("terms", [np.zeros((2, 5)), np.full((1, 1), np.nan)])
def test_colours_end_somewhere_even_where_nothing_is_there(terms: np.ndarray) -> None:
    assert colour_reach(terms) == 1
    assert drawn(terms, seen=None).figure.data[0].zmax == 1


def test_a_long_answer_has_thinner_rows() -> None:
    def row(n: int) -> float:
        more, one = (drawn(np.ones((n - less, 40)), seen=None).figure.layout.height for less in (0, 1))
        return float(more - one)

    assert row(FEW_ROWS) == module.ROW
    assert drawn(np.ones((200, 210)), seen=None).figure.layout.height < 200 * module.ROW


@pytest.mark.parametrize(("rows", "columns"), [([" is"], COLUMNS), ([" is", " red"], COLUMNS[1:])])
def test_sizes_that_disagree_are_refused(rows: list[str], columns: list[str]) -> None:
    with pytest.raises(ValueError, match="terms is 2 x 5"):
        answer_heatmap(TERMS, rows, columns, values=np.zeros(2), rest=np.zeros(2))
