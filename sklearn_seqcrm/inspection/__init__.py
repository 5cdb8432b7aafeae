"""What a fitted model saw: importances of what histories hold, and attributions."""

from sklearn_seqcrm.inspection._history_importance import history_importance
from sklearn_seqcrm.inspection._history_importance_display import (
    HistoryImportanceDisplay,
)

__all__ = ["HistoryImportanceDisplay", "history_importance"]
