from typing import Any

import numpy as np
import pytest

from eqlin_core.figures import deletion_curves
from eqlin_core.figures.deletion_curves import _spread
from eqlin_core.figures.palette import LOOKS

CURVES = {"exact split": np.array([0.0, -2.0, -3.0]), "random": np.array([0.0, -0.5, -1.0])}


def drawn(curves=CURVES, points=(0, 1, 4), **options):
    settings: dict[str, Any] = {"measure": "log-probability of ·Paris", "kind": "deletion"}
    return deletion_curves(curves, points, **(settings | options))


def test_every_method_has_its_line_over_the_number_of_tokens():
    figure = drawn().figure
    lines = {trace.name: trace for trace in figure.data}
    assert list(lines["exact split"].x) == [0, 1, 4]
    assert list(lines["exact split"].y) == [0.0, -2.0, -3.0]
    assert lines["random"].customdata[1] == "random<br>1 token deleted<br>log-probability of ·Paris −0.500"
    assert figure.layout.xaxis.title.text.startswith("tokens deleted")
    assert figure.layout.yaxis.title.text == "log-probability of ·Paris"
    assert drawn(kind="insertion").figure.layout.xaxis.title.text.startswith("tokens kept")
    assert drawn(kind="insertion").name == "insertion-curves"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_method_stands_out_and_random_is_dotted(theme):
    figure = drawn(theme=theme).figure
    first = figure.data[-1]
    assert (first.name, first.line.color) == ("exact split", LOOKS[theme].accent)
    assert (figure.data[0].line.color, figure.data[0].line.dash) == (LOOKS[theme].muted, "dot")


def test_many_methods_differ_in_colour_or_dash():
    lines = drawn({str(i): np.zeros(3) for i in range(20)}).figure.data
    assert len({(line.line.color, line.line.dash) for line in lines}) == 20


def test_names_stand_at_the_ends_of_their_lines_and_never_over_one_another():
    names = {f"method {i}": np.array([0.0, -1.0, -2.0 + 0.001 * i]) for i in range(5)}
    notes = drawn(names).figure.layout.annotations
    assert [note.text for note in notes] == list(names)
    assert [note.x for note in notes] == [4] * 5
    span = np.ptp(drawn(names).figure.layout.yaxis.range)
    heights = [310 * note.y / span - note.ay for note in notes]  # pixels, upwards
    assert np.diff(heights).min() >= 17 - 1e-9
    assert abs(np.mean(heights) - np.mean([310 * note.y / span for note in notes])) < 1e-9


def test_heights_that_are_apart_stay_and_others_are_moved_as_a_group():
    assert _spread([0.0, 20.0, 100.0], 17) == [0.0, 20.0, 100.0]
    assert _spread([0.0, 1.0], 17) == [-8.0, 9.0]
    assert _spread([0.0, 10.0, 20.0], 17) == [-7.0, 10.0, 27.0]


def test_a_line_that_ends_early_is_named_where_it_ends():
    chart = drawn({"a": np.array([0.0, -2.0, np.nan])})
    assert [(note.x, note.y) for note in chart.figure.layout.annotations] == [(1, -2.0)]
    assert not drawn({"a": np.full(3, np.nan)}).figure.layout.annotations


def test_the_table_is_tidy():
    assert drawn().table == {
        "method": ["exact split"] * 3 + ["random"] * 3,
        "tokens": [0, 1, 4] * 2,
        "value": [0.0, -2.0, -3.0, 0.0, -0.5, -1.0],
    }


def test_curves_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 values of 'exact split' for 2 points"):
        drawn(points=[0, 1])
    with pytest.raises(ValueError, match="at least one"):
        drawn({})
    with pytest.raises(ValueError, match="at least one"):
        drawn({"a": np.zeros(0)}, points=[])
