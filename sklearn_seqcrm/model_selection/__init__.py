"""Validation forward in time, comparisons of models, and a check of looking ahead."""

from sklearn_seqcrm.model_selection._check_no_leakage import check_no_leakage
from sklearn_seqcrm.model_selection._compare_models import compare_models
from sklearn_seqcrm.model_selection._cutoff_split import CutoffSplit
from sklearn_seqcrm.model_selection._cutoff_split_display import CutoffSplitDisplay
from sklearn_seqcrm.model_selection._model_comparison import ModelComparison
from sklearn_seqcrm.model_selection._model_comparison_display import (
    ModelComparisonDisplay,
)

__all__ = [
    "CutoffSplit",
    "CutoffSplitDisplay",
    "ModelComparison",
    "ModelComparisonDisplay",
    "check_no_leakage",
    "compare_models",
]
