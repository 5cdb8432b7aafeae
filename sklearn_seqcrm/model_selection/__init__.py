"""Cross-validation that moves forward in time, and a check that nothing looks ahead."""

from sklearn_seqcrm.model_selection._check_no_leakage import check_no_leakage
from sklearn_seqcrm.model_selection._cutoff_split import CutoffSplit
from sklearn_seqcrm.model_selection._cutoff_split_display import CutoffSplitDisplay

__all__ = ["CutoffSplit", "CutoffSplitDisplay", "check_no_leakage"]
