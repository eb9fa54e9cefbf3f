"""Plotly figures of the equivalent linear map: builders take NumPy arrays and return a `Chart` (figure and table).

They need neither torch nor Streamlit, so a notebook can use them as well:

    chart = figures.singular_values(spectrum.S.numpy(), lin.tokens, theme="dark")
    chart.figure.show(config=chart.config())
    chart.to_csv()

In Streamlit: `st.plotly_chart(chart.figure, theme=None, config=chart.config(), key=...)`.
"""

from .chart import Chart, plot_config
from .chips import chips_html
from .labels import format_error, format_number, visible_token
from .matrix import line_norms, matrix_heatmap
from .palette import Theme, diverging_colour, token_colours
from .ranks import joint_spectrum, rank_dial, top_tokens
from .reconstruction import error_histogram, reconstruction_scatter
from .spectra import singular_values, stable_ranks
from .tokens import norms_and_cosines, token_target_heatmap
from .triplets import readout_bars, target_effects, triplet_effect
from .waterfall import waterfall

__all__ = [
    "Chart",
    "Theme",
    "chips_html",
    "diverging_colour",
    "error_histogram",
    "format_error",
    "format_number",
    "joint_spectrum",
    "line_norms",
    "matrix_heatmap",
    "norms_and_cosines",
    "plot_config",
    "rank_dial",
    "readout_bars",
    "reconstruction_scatter",
    "singular_values",
    "stable_ranks",
    "target_effects",
    "token_colours",
    "token_target_heatmap",
    "top_tokens",
    "triplet_effect",
    "visible_token",
    "waterfall",
]
