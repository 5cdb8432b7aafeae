"""Score events as they arrive, bid, export to ONNX, and predict partitions."""

from sklearn_seqcrm.serving._bidding import BudgetPacer, WinRateCurve
from sklearn_seqcrm.serving._onnx import export_onnx
from sklearn_seqcrm.serving._predict_partition import predict_partition
from sklearn_seqcrm.serving._streaming import StreamingScorer

__all__ = [
    "BudgetPacer",
    "StreamingScorer",
    "WinRateCurve",
    "export_onnx",
    "predict_partition",
]
