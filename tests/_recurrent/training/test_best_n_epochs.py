"""The number of epochs that validation losses choose."""

from types import SimpleNamespace

import numpy as np
import pytest
from skorch.history import History

from sklearn_seqcrm._recurrent.training import best_n_epochs


@pytest.mark.parametrize(
    ("losses", "n_epochs"),
    [
        ([5], 1),
        ([5, 5, 5], 3),
        ([5, 4, 3, 4, 5], 3),
        ([5, 3, 3.1, 3.3, 3, 5], 5),  # of 2, 3 and 5
        ([-1, -2, -3, -3, -3.1], 5),
        ([5e9, 3e9, 3e9, 3.3e9], 3),
        ([np.inf, 5, 3, np.nan, 3], 5),
        ([np.nan, np.inf], 1),
        ([5, 3] + [3.1] * 20, 10),
        ([5] * 12 + [3, 3.1, 3], 13),
        ([5] * 8 + [3, 4, 3], 9),  # of 9 and 11
    ],
)
def test_epochs_nearest_to_10_of_those_with_a_small_loss(losses, n_epochs):
    history = History()
    for loss in losses:
        history.new_epoch()
        history.record("valid_loss", loss)
    assert best_n_epochs(SimpleNamespace(history=history)) == n_epochs
