import numpy as np
import pytest

from eqlin_core.figures import singular_values, stable_ranks

from .cases import MARIN, prompt


def spectra(T: int, k: int = 6) -> np.ndarray:
    return np.sort(np.exp(np.random.default_rng(T).normal(size=(T, k))), axis=1)[:, ::-1].copy()


def test_every_token_has_its_line_over_k_from_1():
    S = spectra(7)
    lines = singular_values(S, MARIN).figure.data
    assert [line.name for line in lines] == ["The", "·bridge", "·out", "·of", "·Marin", "·is", "·the"]
    for line, values in zip(lines, S, strict=True):
        assert list(line.x) == [1, 2, 3, 4, 5, 6]
        np.testing.assert_array_equal(np.array(line.y, dtype=float), values)


def test_normalised_lines_start_at_one_and_the_table_keeps_both():
    S = spectra(7)
    chart = singular_values(S, MARIN, normalised=True)
    assert all(line.y[0] == 1 for line in chart.figure.data)
    assert chart.table["sigma"] == S.ravel().tolist()
    assert chart.table["sigma_over_sigma_1"] == (S / S[:, :1]).ravel().tolist()
    assert chart.table["k"][:7] == [1, 2, 3, 4, 5, 6, 1]
    assert chart.table["position"][:7] == [0, 0, 0, 0, 0, 0, 1]


def test_zeros_are_left_out_of_a_logarithmic_plot_but_stay_in_the_table():
    S = np.array([[1.0, 0.0], [0.0, 0.0]])
    chart = singular_values(S, ["a", "b"], log=True, normalised=True)
    assert np.isnan(np.array(chart.figure.data[0].y, dtype=float)).tolist() == [False, True]
    assert chart.table["sigma"] == [1.0, 0.0, 0.0, 0.0]
    assert list(singular_values(S, ["a", "b"], log=False).figure.data[0].y) == [1.0, 0.0]


def test_log_and_linear_scale_keep_zooms_of_their_own():
    logarithmic, linear = (singular_values(spectra(7), MARIN, log=log).figure.layout for log in (True, False))
    assert (logarithmic.yaxis.type, linear.yaxis.type) == ("log", None)
    assert logarithmic.yaxis.uirevision != linear.yaxis.uirevision
    assert logarithmic.uirevision == linear.uirevision


def test_a_legend_names_few_tokens_and_a_colour_bar_counts_many():
    few, many = (singular_values(spectra(T), prompt(T)).figure for T in (18, 400))
    assert few.layout.showlegend
    assert not many.layout.showlegend
    assert many.data[-1].marker.colorbar.title.text == "position"
    assert (many.data[-1].marker.cmin, many.data[-1].marker.cmax) == (0, 399)


def test_tokens_that_are_not_known_yet_have_no_line_no_row_and_no_highlight():
    S = spectra(60)
    S[[i for i in range(60) if i not in (3, 59)]] = np.nan
    chart = singular_values(S, prompt(60), highlight=5)
    assert [line.legendrank for line in chart.figure.data] == [4, 60]
    assert len({line.opacity for line in chart.figure.data}) == 1
    assert chart.figure.layout.showlegend, "two lines are named, however long the prompt is"
    assert sorted(set(chart.table["position"])) == [3, 59]
    assert chart.table["sigma"] == [*S[3], *S[59]]


@pytest.mark.parametrize("T", [7, 400])
def test_the_highlighted_line_is_on_top_and_the_others_fade(T):
    lines = [t for t in singular_values(spectra(T), prompt(T), highlight=3).figure.data if t.hoverinfo != "skip"]
    assert lines[-1].legendrank == 4
    assert lines[-1].opacity == 1
    assert max(line.opacity for line in lines[:-1]) <= 0.5


@pytest.mark.parametrize("k", [1, 2, 12, 13, 24, 128, 3072])
def test_the_index_axis_names_one_and_at_most_a_dozen_or_so_more(k):
    ticks = singular_values(spectra(1, k), ["a"]).figure.layout.xaxis.tickvals
    assert ticks[0] == 1
    assert ticks[-1] <= k
    assert len(set(ticks)) == len(ticks) <= 17


def test_stable_ranks_are_the_bars():
    values = np.array([1.0, 10.36, 2.26])
    chart = stable_ranks(values, ["a", "b", "a"])
    assert list(chart.figure.data[0].y) == values.tolist()
    assert list(chart.figure.data[0].text) == ["1.00", "10.4", "2.26"]
    assert chart.table == {"position": [0, 1, 2], "token": ["a", "b", "a"], "stable_rank": values.tolist()}


def test_a_logarithmic_stable_rank_axis_reaches_from_one_to_the_largest():
    low, high = stable_ranks(np.array([3.0, 1100.0]), ["a", "b"], log=True).figure.layout.yaxis.range
    assert low < 0 < np.log10(1100) < high


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="7 spectra for 2 tokens"):
        singular_values(spectra(7), ["a", "b"])
    with pytest.raises(ValueError, match="3 stable ranks for 1 tokens"):
        stable_ranks(np.ones(3), ["a"])
