"""Plotly figures of the equivalent linear map: builders take NumPy arrays and return a `Chart` (figure and table).

They need neither torch nor Streamlit, so a notebook can use them as well:

    chart = figures.singular_values(spectrum.S.numpy(), lin.tokens, theme="dark")
    chart.figure.show(config=chart.config())
    chart.to_csv()

In Streamlit: `st.plotly_chart(chart.figure, theme=None, config=chart.config(), key=...)`.
"""

from .chart import Chart, plot_config
from .chips import chips_html
from .heads import direct_layers, head_tokens, heads_table
from .labels import format_error, format_number, visible_token
from .layers import first_layers, layer_path, layer_spectra, layer_stable_ranks
from .palette import Theme, diverging_colour, token_colours
from .readout_table import readout_table
from .spectra import singular_values, stable_ranks
from .tokens import norms_and_cosines, token_target_heatmap
from .triplets import readout_bars, triplet_effect
from .waterfall import waterfall

__all__ = [
    "Chart",
    "Theme",
    "chips_html",
    "direct_layers",
    "diverging_colour",
    "first_layers",
    "format_error",
    "format_number",
    "head_tokens",
    "heads_table",
    "layer_path",
    "layer_spectra",
    "layer_stable_ranks",
    "norms_and_cosines",
    "plot_config",
    "readout_bars",
    "readout_table",
    "singular_values",
    "stable_ranks",
    "token_colours",
    "token_target_heatmap",
    "triplet_effect",
    "visible_token",
    "waterfall",
]
