"""Cross-validation that moves forward in time."""

from sklearn_seqcrm.model_selection._cutoff_split import CutoffSplit

__all__ = ["CutoffSplit"]
