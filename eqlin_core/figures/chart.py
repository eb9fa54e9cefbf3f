"""A chart: the picture, and the numbers in it at full precision."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go


@dataclass(frozen=True)
class Chart:
    """A Plotly figure with its data as tidy columns of equal length, in the order of the table's keys."""

    name: str  # also the name of its downloads
    figure: go.Figure
    table: Mapping[str, Sequence[Any]]

    def to_csv(self) -> str:
        """The table as CSV text: a header, one row an observation, every float so that it reads back exactly."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.table)
        writer.writerows(zip(*self.table.values(), strict=True))
        return text.getvalue()

    def config(self, image: Literal["png", "svg"] = "png") -> dict[str, Any]:
        """Plotly's `config` for this chart: see `plot_config`."""
        return plot_config(self.name, image)


def plot_config(name: str, image: Literal["png", "svg"] = "png") -> dict[str, Any]:
    """Plotly's `config`: only "reset zoom" and "download picture" stay, at twice the screen's resolution."""
    return {
        "displaylogo": False,
        "modeBarButtons": [["resetScale2d", "toImage"]],
        "toImageButtonOptions": {"format": image, "filename": file_name(name), "scale": 2},
    }


def file_name(text: str) -> str:
    """The text as a file name without an extension: letters, digits and hyphens, at most 80."""
    return re.sub(r"[^\w]+", "-", text).strip("-")[:80] or "chart"
