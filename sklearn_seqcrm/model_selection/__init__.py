"""Cross-validation that moves forward in time, and a check that nothing looks ahead."""

from sklearn_seqcrm.model_selection._check_no_leakage import check_no_leakage
from sklearn_seqcrm.model_selection._cutoff_split import CutoffSplit

__all__ = ["CutoffSplit", "check_no_leakage"]
