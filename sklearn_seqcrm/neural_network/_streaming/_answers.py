"""What outputs of networks say in the units of the targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sklearn_seqcrm.neural_network._base import BaseLSTM, mean_over_networks


def predicted(estimator: BaseLSTM, outputs: Sequence[np.ndarray]) -> np.ndarray:
    """What `predict` of the estimator says of these outputs."""
    objective: Any = estimator._objective
    if hasattr(objective, "labels_of"):
        return objective.labels_of(probabilities(estimator, outputs))
    return mean_over_networks(map(objective.predict, outputs))


def probabilities(estimator: BaseLSTM, outputs: Sequence[np.ndarray]) -> np.ndarray:
    """What `predict_proba` of a classifier says of these outputs."""
    objective: Any = estimator._objective
    return mean_over_networks(map(objective.predict_proba, outputs))
