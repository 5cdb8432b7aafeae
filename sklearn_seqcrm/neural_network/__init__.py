"""Recurrent networks on ragged histories; the only package that imports torch."""

from sklearn_seqcrm.neural_network._history_padder import HistoryPadder
from sklearn_seqcrm.neural_network._lstm_classifier import LSTMClassifier
from sklearn_seqcrm.neural_network._lstm_event_model import LSTMEventModel
from sklearn_seqcrm.neural_network._lstm_regressor import LSTMRegressor
from sklearn_seqcrm.neural_network._lstm_survival import LSTMSurvival
from sklearn_seqcrm.neural_network._onnx import export_onnx
from sklearn_seqcrm.neural_network._streaming import StreamingScorer
from sklearn_seqcrm.neural_network._time_curve import TimeCurve

__all__ = [
    "HistoryPadder",
    "LSTMClassifier",
    "LSTMEventModel",
    "LSTMRegressor",
    "LSTMSurvival",
    "StreamingScorer",
    "TimeCurve",
    "export_onnx",
]
