"""Pictures of what models and splitters do."""

from sklearn_seqcrm.inspection._cutoff_split_display import CutoffSplitDisplay

__all__ = ["CutoffSplitDisplay"]
