import numpy as np
import pytest

from eqlin_core import figures
from eqlin_core.figures.layers import layer_colours
from eqlin_core.figures.palette import contrast_ratio, look, sequential_scale
from eqlin_core.figures.readout_table import PALE

COLUMNS = ["The", " bridge", "joint"]
READS = [[[" Golden", " Bay"], ["\n", "<b>"], [f"word{i}", "x"]] for i in range(4)]
VALUES = np.arange(1.0, 13.0).reshape(4, 3)


def table(**options):
    return figures.readout_table(READS, VALUES, COLUMNS, quantity="σ", **options)


def test_every_cell_of_the_read_out_table_shows_its_first_tokens_and_can_be_clicked():
    cells, markers = table().figure.data
    assert [list(row) for row in cells.text][1] == ["·Golden ·Bay", "⏎ &lt;b&gt;", "word1 x"]
    assert len(markers.x) == 12
    places = {
        (entry[0], entry[1]): (y, x) for entry, x, y in zip(markers.customdata, markers.x, markers.y, strict=True)
    }
    assert all(place == drawn for place, drawn in places.items())
    assert "σ 6.00" in markers.customdata[5][4]
    assert markers.unselected.marker.color == markers.selected.marker.color == "rgba(0,0,0,0)", "a click hides nothing"


def test_colours_by_logarithm_are_labelled_by_the_values():
    cells = table(log=True).figure.data[0]
    assert cells.z[0][0] == 0
    assert cells.colorbar.ticktext[0] == "1.00"
    assert cells.colorbar.ticktext[-1] == "12.0"


def test_signed_quantities_are_centred_at_zero():
    cells = figures.readout_table(READS, VALUES - 10, COLUMNS, quantity="cosine", signed=True).figure.data[0]
    assert (cells.zmin, cells.zmax) == (-9, 9)


def test_the_open_cell_is_framed():
    (frame,) = table(chosen=(3, 1)).figure.layout.shapes
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (0.5, 1.5, 2.5, 3.5)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_text_of_a_cell_is_readable_on_every_colour(theme):
    for _, colour in sequential_scale(theme, PALE):
        assert contrast_ratio(look(theme).text, colour) >= 4.5


def test_a_row_with_many_columns_has_room_for_one_token_or_none():
    many = [f"t{i}" for i in range(19)]
    cells = figures.readout_table([[["longtoken", "b"]] * 19], np.ones((1, 19)), many, quantity="σ").figure.data[0]
    assert cells.text[0][0] == "long…"
    more = [f"t{i}" for i in range(40)]
    assert figures.readout_table([[["a"]] * 40], np.ones((1, 40)), more, quantity="σ").figure.data[0].text is None


def test_a_table_of_another_size_is_refused():
    with pytest.raises(ValueError, match="4 x 3"):
        figures.readout_table(READS[:3], VALUES, COLUMNS, quantity="σ")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_deeper_layers_stand_out_more_from_the_page(theme):
    contrast = [contrast_ratio(colour, look(theme).background) for colour in layer_colours(12, theme)]
    assert contrast == sorted(contrast)
    assert contrast[0] > 1.2


def test_the_chosen_layer_lies_on_top_of_the_spectra():
    chart = figures.layer_spectra(np.ones((4, 3)), name="x", chosen=1)
    assert [trace.name for trace in chart.figure.data[:4]] == ["layer 0", "layer 2", "layer 3", "layer 1"]


def test_both_modes_and_all_kinds_have_a_line_of_stable_ranks():
    ranks = {"cumulative": np.full((4, 2), 2.0), "layerwise": np.full((4, 2), 30.0)}
    chart = figures.layer_stable_ranks(ranks, ("layer", "mlp"), name="x")
    assert [trace.name for trace in chart.figure.data] == [
        "block output, cumulative",
        "MLP, cumulative",
        "block output, one block",
        "MLP, one block",
    ]
    assert chart.table["stable_rank"] == [2.0] * 8 + [30.0] * 8


def test_the_path_ends_where_the_last_layer_s_vectors_are():
    path = np.zeros((3, 2, 2))
    path[-1] = np.eye(2)
    first, second = figures.layer_path(path, name="x").figure.data[:2]
    assert (first.x[-1], first.y[-1]) == (1, 0)
    assert (second.x[-1], second.y[-1]) == (0, 1)
    assert first.text[-1] == "2"
    assert first.text[0] == "", "numbers at the centre would lie over one another"


def test_a_column_that_never_reads_the_token_says_so():
    chart = figures.first_layers(np.array([2, -1, 0]), COLUMNS, token=" Golden", n_layers=4)
    bars, never = chart.figure.data
    assert list(bars.base) == [2, 0]
    assert list(bars.y) == [2, 4]
    assert list(never.x) == [1]
    assert chart.table["first_layer"] == [2, -1, 0]


def test_heads_can_be_clicked_and_small_ones_are_not_numbered():
    chart = figures.heads_table(np.array([[1.0, 0.001], [-0.5, 0.2]]), explained=" Golden", chosen=(1, 0))
    cells, markers = chart.figure.data
    assert [list(row) for row in cells.text] == [["1.0", ""], ["−0.5", "0.2"]]
    assert [list(entry[:2]) for entry in markers.customdata] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert chart.table["term"] == [1.0, 0.001, -0.5, 0.2]


def test_attention_and_mlp_stand_beside_one_another_with_the_rest_in_the_data():
    chart = figures.direct_layers(np.array([1.0, 2.0]), np.array([-1.0, 0.5]), 0.25, explained=" Golden")
    assert chart.table["term"] == [0.25, 1.0, 2.0, -1.0, 0.5]
    assert chart.table["part"][0] == "embedding and constants"


def test_a_head_beyond_the_colours_is_said_in_their_bar_with_its_size():
    values = np.full((10, 10), 0.1)
    assert "colours end" not in figures.heads_table(values, explained=" a").figure.data[0].colorbar.title.text
    values[3, 4] = -0.4
    title = figures.heads_table(values, explained=(" a", " b")).figure.data[0].colorbar.title.text
    assert "<br>(colours end<br>at ±0.103;" in title
    assert title.endswith("<br>largest: 0.400)")


def test_no_two_layers_are_numbered_in_the_same_place_of_the_path():
    close = np.stack([np.linspace([1.0, 0.0], [0.8, 0.02], 27), np.linspace([0.0, 1.0], [0.0, -1.0], 27)], axis=1)
    first, second, _ = figures.layer_path(close, name="a").figure.data
    assert [text for text in first.text if text] == ["0", "26"]
    assert "26" in second.text
    assert 4 < sum(map(bool, second.text)) < 20
