"""Plotly figures of the equivalent linear map: builders take NumPy arrays and return a `Chart` (figure and table).

They need neither torch nor Streamlit, so a notebook can use them as well:

    chart = figures.singular_values(eq.spectrum(lin), lin.tokens, theme="dark")  # or an array
    chart.figure.show(config=chart.config())
    chart.to_csv()

In Streamlit: `st.plotly_chart(chart.figure, theme=None, config=chart.config(), key=...)`.
"""

from .agreement import agreement
from .answer import answer_heatmap
from .chart import Chart, plot_config
from .chips import chips_html
from .compare import compared_terms
from .compare_spectra import compared_spectra, subspace_angles
from .counterfactual import counterfactual
from .deletion_curves import deletion_curves
from .faithfulness import hidden_effects, leave_one_out
from .heads import direct_layers, head_tokens, heads_table
from .labels import LogProbability, format_error, format_number, visible_token
from .layers import first_layers, layer_path, layer_spectra, layer_stable_ranks
from .lenses import lens_ranks
from .matrix import line_norms, matrix_heatmap
from .method_means import method_means
from .palette import Theme, diverging_colour, token_colours
from .provenance import Provenance
from .ranks import joint_spectrum, rank_dial, top_tokens
from .reach import reach, reach_parts
from .readout_table import readout_table
from .reconstruction import error_histogram, reconstruction_scatter
from .spectra import singular_values, stable_ranks
from .studies import histograms, measures_scatter
from .tokens import norms_and_cosines, token_target_heatmap
from .triplets import readout_bars, target_effects, triplet_effect
from .waterfall import waterfall

__all__ = [
    "Chart",
    "LogProbability",
    "Provenance",
    "Theme",
    "agreement",
    "answer_heatmap",
    "chips_html",
    "compared_spectra",
    "compared_terms",
    "counterfactual",
    "deletion_curves",
    "direct_layers",
    "diverging_colour",
    "error_histogram",
    "first_layers",
    "format_error",
    "format_number",
    "head_tokens",
    "heads_table",
    "hidden_effects",
    "histograms",
    "joint_spectrum",
    "layer_path",
    "layer_spectra",
    "layer_stable_ranks",
    "leave_one_out",
    "lens_ranks",
    "line_norms",
    "matrix_heatmap",
    "measures_scatter",
    "method_means",
    "norms_and_cosines",
    "plot_config",
    "rank_dial",
    "reach",
    "reach_parts",
    "readout_bars",
    "readout_table",
    "reconstruction_scatter",
    "singular_values",
    "stable_ranks",
    "subspace_angles",
    "target_effects",
    "token_colours",
    "token_target_heatmap",
    "top_tokens",
    "triplet_effect",
    "visible_token",
    "waterfall",
]
