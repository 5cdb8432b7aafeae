"""Outputs of networks that were run before, in place of rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class NetworkOutputs(NamedTuple):
    """Outputs of all networks for some rows, which prediction methods take as X.

    Parameters
    ----------
    of_each : list of ndarray of shape (n, n_outputs), float64
        Outputs of each network.
    """

    of_each: list[np.ndarray]
