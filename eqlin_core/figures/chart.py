"""A chart: the picture, and the numbers in it at full precision."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from inspect import signature
from typing import Any, Literal, ParamSpec

import plotly.graph_objects as go

from .alternative import alternative_of
from .captions import caption_of
from .palette import Theme
from .provenance import Provenance, file_stem

Arguments = ParamSpec("Arguments")


@dataclass(frozen=True)
class Chart:
    """A Plotly figure with its data as tidy columns of equal length, in the order of the table's keys."""

    name: str  # also the name of its downloads
    figure: go.Figure
    table: Mapping[str, Sequence[Any]]
    provenance: Provenance | None = None
    again: Callable[[Theme], "Chart"] | None = field(default=None, repr=False, compare=False)

    def of(self, provenance: Provenance) -> "Chart":
        """The same chart, whose downloads and caption say where its numbers come from."""
        return replace(self, provenance=provenance)

    def in_theme(self, theme: Theme) -> "Chart":
        """The chart as its builder draws it in this theme. Raises ValueError for a chart that no builder made."""
        if self.again is None:
            raise ValueError("Only a chart that a builder of eqlin_core.figures made is drawn in another theme.")
        return replace(self.again(theme), provenance=self.provenance)

    @property
    def caption(self) -> str:
        """What it shows, and of which run where that is known."""
        return caption_of(self.name, self.provenance)

    @property
    def alternative(self) -> str:
        """What it shows in words, with its main numbers, for people who do not see it."""
        return alternative_of(self.name, self.figure, self.table)

    def file_name(self, suffix: str) -> str:
        """A name for its downloads with this suffix, "csv" or "svg", that is safe on every system."""
        stem = self.name if self.provenance is None else file_stem(self.provenance, self.name)
        return f"{stem}.{suffix.lstrip('.')}"

    def to_csv(self) -> str:
        """The table as CSV text: a header, one row an observation, every float so that it reads back exactly.

        Where it is known where the numbers come from, lines that begin with # say it before the header:
        `pandas.read_csv(file, comment="#")` where no token in it begins so, `skiprows=6` else.
        """
        text = io.StringIO()
        if self.provenance is not None:
            text.writelines(f"{line}\n" for line in self.provenance.comments)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.table)
        writer.writerows(zip(*self.table.values(), strict=True))
        return text.getvalue()

    def config(self, image: Literal["png", "svg"] = "png") -> dict[str, Any]:
        """Plotly's `config` for this chart: see `plot_config`."""
        return plot_config(self.file_name("").rstrip("."), image)


def in_any_theme(build: Callable[Arguments, Chart]) -> Callable[Arguments, Chart]:
    """The builder, whose charts can be drawn in another theme."""
    takes = signature(build)

    @wraps(build)
    def built(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Chart:
        given = takes.bind(*args, **kwargs)

        def again(theme: Theme) -> Chart:
            given.arguments["theme"] = theme
            return built(*given.args, **given.kwargs)

        return replace(build(*args, **kwargs), again=again)

    return built


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
