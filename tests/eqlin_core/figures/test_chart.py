import csv
import io
import json
import re

import plotly.graph_objects as go
import pytest

from eqlin_core.figures import Chart, plot_config, token_colours
from eqlin_core.figures.palette import LOOKS

from .cases import charts, prompt

SIZES = [1, 7, 21, 60]
NAMES = list(charts(1))
OVER_TOKENS = ["heatmap", "norms", "stable_ranks", "leave_one_out", "hidden_effects", "agreement"]
SHOW_THE_PROMPT = ["waterfall", "waterfall_apart", "leave_one_out_apart", "singular_values", "joint", *OVER_TOKENS]
SHOW_THE_PROMPT += ["compared_terms", "compared_spectra", "answer_heatmap"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("T", SIZES)
def test_csv_reads_back_to_the_table_exactly(T, name):
    chart = charts(T)[name]
    rows = list(csv.DictReader(io.StringIO(chart.to_csv(), newline="")))
    for column, values in chart.table.items():
        read = [row[column] for row in rows]
        assert [float(r) if isinstance(v, float) else r for r, v in zip(read, values, strict=True)] == [
            v if isinstance(v, float) else str(v) for v in values
        ]


def test_columns_of_unequal_length_are_not_written():
    with pytest.raises(ValueError, match="shorter"):
        Chart("x", go.Figure(), {"a": [1, 2], "b": [1]}).to_csv()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("T", SIZES)
def test_every_figure_is_opaque_titled_hoverable_and_keeps_its_zoom(T, theme, name):
    figure = charts(T, theme)[name].figure.to_dict()
    layout = figure["layout"]
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == LOOKS[theme].background
    assert layout["font"]["color"] == LOOKS[theme].text
    assert layout["uirevision"]
    assert layout["height"] >= 100
    assert any("hovertemplate" in trace for trace in figure["data"])
    assert all("hovertemplate" in trace or trace["hoverinfo"] == "skip" for trace in figure["data"])
    axes = {key: axis for key, axis in layout.items() if re.fullmatch(r"[xy]axis\d?", key)}
    untitled = [key for key, axis in axes.items() if not axis["title"]["text"]]
    said_by_tokens = {"readout": ["yaxis", "yaxis2"], "target_effects": ["yaxis"], "top_tokens": ["yaxis"]}
    said_by_tokens |= {"compared_terms": ["yaxis", "yaxis2"], "answer_heatmap": ["xaxis", "yaxis"]}
    assert untitled == said_by_tokens.get(name, [])
    json.loads(charts(T, theme)[name].figure.to_json())


@pytest.mark.parametrize("name", NAMES)
def test_zoom_is_kept_over_a_change_of_theme_and_given_up_with_the_prompt(name):
    def revision(T, theme):
        return charts(T, theme)[name].figure.layout.uirevision

    assert revision(7, "light") == revision(7, "dark")
    if name in SHOW_THE_PROMPT:
        assert revision(7, "light") != revision(8, "light")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("T", SIZES)
def test_a_token_has_the_same_colour_on_every_chart(T, theme):
    made = charts(T, theme)
    expected = token_colours(T, theme)
    assert list(made["norms"].figure.data[0].marker.color) == expected
    assert list(made["norms"].figure.data[1].marker.color) == expected
    assert list(made["stable_ranks"].figure.data[0].marker.color) == expected
    assert [trace.line.color for trace in made["singular_values"].figure.data[:T]] == expected


@pytest.mark.parametrize("name", OVER_TOKENS)
@pytest.mark.parametrize("T", SIZES)
def test_repeated_tokens_keep_their_own_place_on_the_axis(T, name):
    figure = charts(T)[name].figure
    axis = figure.layout.xaxis
    assert list(figure.data[0].x) == list(range(T))
    labels = axis.ticktext if axis.tickmode == "array" else [axis.labelalias[str(i)] for i in range(T)]
    assert len(labels) == T
    assert axis.range[0] < 0
    assert axis.range[1] > T - 1


@pytest.mark.parametrize("name", NAMES)
def test_no_token_is_read_as_markup(name):
    text = json.dumps(charts(60)[name].figure.to_dict(), default=str, ensure_ascii=False)
    tags = set(re.findall(r"<[^>]*>", text))
    assert tags <= {"<br>", "<b>", "</b>", "<i>", "</i>", "<extra>", "</extra>"}
    meant = text.count("<b>·Golden</b>") + text.count("<b>published</b>")
    meant += text.count("<b>A</b>") + text.count("<b>B</b>")
    meant += text.count("<b>··  −1.00</b>")  # the chosen row
    assert text.count("<b>") == text.count("</b>") == meant
    assert "%{x}" not in text.replace("k = %{x}<br>", "")
    assert "$x$" not in text


def test_the_mode_bar_keeps_reset_and_download_only():
    config = plot_config("waterfall of ·Golden / <b>", "svg")
    assert config["modeBarButtons"] == [["resetScale2d", "toImage"]]
    assert config["toImageButtonOptions"] == {"format": "svg", "filename": "waterfall-of-Golden-b", "scale": 2}
    assert charts(1)["norms"].config()["toImageButtonOptions"]["filename"] == "norms-and-cosines"


def test_tokens_in_the_tables_are_the_prompts_own():
    T = 60
    assert charts(T)["stable_ranks"].table["token"] == prompt(T)
    assert charts(T)["waterfall"].table["token"][1:-1] == prompt(T)


@pytest.mark.parametrize("name", charts(1))
def test_a_chart_is_drawn_again_in_the_other_theme(name):
    light, dark = (charts(7, theme)[name] for theme in ("light", "dark"))
    assert dark.in_theme("light").figure == light.figure
    assert dark.in_theme("light").in_theme("dark").figure == dark.figure
    with pytest.raises(ValueError, match="builder"):
        Chart("made-by-hand", light.figure, light.table).in_theme("dark")
