"""Initial hazards, before a network has learned anything."""

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose

from sklearn_seqcrm._recurrent.objectives._hazards import Hazards


def learned(bins, kind, time):
    objective = Hazards(bins)
    y = objective.read(pd.DataFrame({"event": kind, "time": time}))
    objective.learn(y, None)
    return objective


def test_first_hazards_of_bins_that_few_rows_reach():
    """Up to a hundredth of all rows counts as at risk at the usual rate."""
    kind, time = np.tile([0, 1], 500), np.tile([3.0, 1.0], 500)
    # One row was at risk for a hundredth of the last bin.
    kind, time = np.append(kind, 0), np.append(time, 4.04)
    objective = learned([2.0, 4.0, 8.0], np.append(kind, 1), np.append(time, 9.0))
    y = np.column_stack([kind, time])
    odds = np.exp(objective.start_bias(objective.encode(y), None))
    found = odds / (1 + odds)
    # All at risk in the first bin, half of the others in half of the second one.
    usual = 500 / (1001 + 251)
    assert_allclose(found[0], 500 / 1001, rtol=1e-3)
    assert_allclose(found[1], 0.01 * usual, rtol=2e-2)
    assert_allclose(found[2], usual, rtol=2e-2)


def test_first_hazards_of_a_kind_without_events():
    """Customers set aside may have its events: the network must be able to learn it."""
    objective = learned([2.0, 4.0], [1, 2, 0], [1.0, 3.0, 3.0])
    for kind in ([1, 0, 0], [0, 0, 0]):
        y = np.column_stack([kind, [1.0, 3.0, 0.0]])
        bias = objective.start_bias(objective.encode(y), None)
        assert np.isfinite(bias).all()
    y = np.zeros((3, 2))  # without any time at risk
    assert np.isfinite(objective.start_bias(objective.encode(y), None)).all()
