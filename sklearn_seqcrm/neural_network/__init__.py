"""Recurrent networks on ragged histories; the only package that imports torch."""

from sklearn_seqcrm.neural_network._history_padder import HistoryPadder
from sklearn_seqcrm.neural_network._lstm_classifier import LSTMClassifier
from sklearn_seqcrm.neural_network._lstm_regressor import LSTMRegressor

__all__ = ["HistoryPadder", "LSTMClassifier", "LSTMRegressor"]
