"""What a chart's downloads say of where its numbers come from."""

import csv
import io
import json
import re

import pytest

from eqlin_core.figures import Provenance
from eqlin_core.figures.captions import DRAWN

from .cases import charts

GIVEN = Provenance("org/Some-Model", "The bridge\nout, of", " only", "float32", "half, attention half", "0.1.0")


@pytest.mark.parametrize("name", list(charts(7)))
def test_every_chart_has_a_sentence_of_its_own_for_its_caption(name):
    chart = charts(7)[name]
    assert chart.name in DRAWN
    assert chart.caption == DRAWN[chart.name]
    said = chart.of(GIVEN).caption
    assert said.startswith(DRAWN[chart.name])
    for text in ("org/Some-Model", "The bridge out, of", " only", "float32", "half, attention half", "eqlin 0.1.0"):
        assert text in said


def test_a_csv_says_it_before_its_header_and_reads_back():
    chart = charts(7)["waterfall"]
    lines = chart.of(GIVEN).to_csv().splitlines(keepends=True)
    said = [line for line in lines if line.startswith("# ")]
    assert lines[:6] == said
    read = {line[2:].split(": ", 1)[0]: json.loads(line.split(": ", 1)[1]) for line in said}
    assert Provenance(**read) == GIVEN
    assert "".join(lines[6:]) == chart.to_csv()
    assert next(csv.reader(io.StringIO(chart.to_csv())))[0] == "part"


def test_a_file_name_carries_it_and_is_safe_everywhere():
    chart = charts(7)["waterfall"]
    assert chart.file_name("csv") == "waterfall.csv"
    name = "waterfall_Some-Model_The-bridge-out-of_only_float32_half-attention-half_0.1.0.svg"
    assert chart.of(GIVEN).file_name(".svg") == name
    assert chart.of(GIVEN).config()["toImageButtonOptions"]["filename"].startswith("waterfall_Some-Model_The-bridge")


@pytest.mark.parametrize("text", ["../../etc/passwd", 'a/b\\c:d*?"<>|', "\x00\n\u202e", "x" * 5000, "", "日本語", ".."])
def test_no_text_makes_a_file_name_that_is_not_safe(text):
    odd = charts(7)["waterfall"].of(Provenance(text, text, text, text, text, text))
    name = odd.file_name("csv")
    assert re.fullmatch(r"waterfall[\w.-]*\.csv", name, re.ASCII)
    assert ".." not in name
    assert len(name) < 170


def test_a_folder_keeps_to_itself_where_it_lies():
    name = charts(7)["norms"].of(Provenance("/home/me/models/tiny/", "p", "", "float32", "up", "1")).file_name("csv")
    assert name == "norms-and-cosines_tiny_p_float32_up_1.csv"
