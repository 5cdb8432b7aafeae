"""Recurrent networks on ragged histories."""

from sklearn_seqcrm._recurrent.objectives import SurvivalCurve

# For other packages of the library; no part of its public interface.
from sklearn_seqcrm.neural_network._base import BaseLSTM  # noqa: F401
from sklearn_seqcrm.neural_network._ensemble_training import (  # noqa: F401
    FirstTraining,
    NetworkOutputs,
    on_first_training,
)
from sklearn_seqcrm.neural_network._history_padder import HistoryPadder
from sklearn_seqcrm.neural_network._lstm_classifier import LSTMClassifier
from sklearn_seqcrm.neural_network._lstm_regressor import LSTMRegressor
from sklearn_seqcrm.neural_network._lstm_survival import LSTMSurvival
from sklearn_seqcrm.neural_network._lstm_uplift_classifier import LSTMUpliftClassifier
from sklearn_seqcrm.neural_network._lstm_uplift_regressor import LSTMUpliftRegressor

__all__ = [
    "HistoryPadder",
    "LSTMClassifier",
    "LSTMRegressor",
    "LSTMSurvival",
    "LSTMUpliftClassifier",
    "LSTMUpliftRegressor",
    "SurvivalCurve",
]
