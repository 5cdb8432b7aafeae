"""What a fitted model saw: importances of what histories hold, and attributions."""

from sklearn_seqcrm.inspection._event_attribution_display import (
    EventAttributionDisplay,
)
from sklearn_seqcrm.inspection._event_attributions import event_attributions
from sklearn_seqcrm.inspection._history_display import HistoryDisplay
from sklearn_seqcrm.inspection._history_importance import history_importance
from sklearn_seqcrm.inspection._history_importance_display import (
    HistoryImportanceDisplay,
)

__all__ = [
    "EventAttributionDisplay",
    "HistoryDisplay",
    "HistoryImportanceDisplay",
    "event_attributions",
    "history_importance",
]
