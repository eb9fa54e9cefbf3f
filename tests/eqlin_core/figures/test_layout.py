import re

import numpy as np
import pytest

from eqlin_core.figures.layout import SMALL_PANEL, log_axis

from .cases import charts


def test_ticks_within_a_few_powers_of_ten_are_at_1_2_and_5_with_the_whole_number_as_label():
    axis = log_axis(np.array([3.0, 0.0, np.nan, 400.0]))
    assert axis == {"type": "log", "exponentformat": "none", "dtick": "D2", "tickformat": "~g"}
    assert log_axis(np.array([2e-7, 3e-6]))["tickformat"] == "~e"


def test_values_within_one_power_of_ten_have_evenly_spaced_ticks():
    assert "dtick" not in log_axis(np.array([1.2, 1.9]))
    assert log_axis(np.array([1.2, 1.9]))["tickformat"] == "~g"
    assert log_axis(np.array([]))["type"] == "log"


@pytest.mark.parametrize(("decades", "apart"), [(3.0, 2), (SMALL_PANEL, 3)])
def test_ticks_over_many_powers_of_ten_are_as_far_apart_as_there_is_room(decades, apart):
    axis = log_axis(np.array([1e-9, 1.0]), decades=decades)
    assert (axis["dtick"], axis["exponentformat"]) == (apart, "power")


@pytest.mark.parametrize("name", charts(7))
def test_no_logarithmic_axis_labels_a_tick_by_its_last_digit_alone(name):
    layout = charts(7)[name].figure.to_dict()["layout"]
    for axis in (axis for key, axis in layout.items() if re.fullmatch(r"[xy]axis\d?", key) and "type" in axis):
        if axis["type"] == "log" and "tickvals" not in axis:
            assert "tickformat" in axis or isinstance(axis["dtick"], int)
