"""Explanations of fitted models: importances of histories, attributions of events."""

from sklearn_seqcrm.inspection._channel_attribution import channel_attribution
from sklearn_seqcrm.inspection._channel_attribution_display import (
    ChannelAttributionDisplay,
)
from sklearn_seqcrm.inspection._event_attribution_display import EventAttributionDisplay
from sklearn_seqcrm.inspection._event_attributions import event_attributions
from sklearn_seqcrm.inspection._gate_display import GateDisplay
from sklearn_seqcrm.inspection._gradient_flow_display import GradientFlowDisplay
from sklearn_seqcrm.inspection._history_display import HistoryDisplay
from sklearn_seqcrm.inspection._history_importance import history_importance
from sklearn_seqcrm.inspection._history_importance_display import (
    HistoryImportanceDisplay,
)
from sklearn_seqcrm.inspection._network_signals import gradient_flow, lstm_gates
from sklearn_seqcrm.inspection._touch_rules import (
    first_touch_credit,
    last_touch_credit,
    linear_credit,
    markov_credit,
    position_based_credit,
    time_decay_credit,
)

__all__ = [
    "ChannelAttributionDisplay",
    "EventAttributionDisplay",
    "GateDisplay",
    "GradientFlowDisplay",
    "HistoryDisplay",
    "HistoryImportanceDisplay",
    "channel_attribution",
    "event_attributions",
    "first_touch_credit",
    "gradient_flow",
    "history_importance",
    "last_touch_credit",
    "linear_credit",
    "lstm_gates",
    "markov_credit",
    "position_based_credit",
    "time_decay_credit",
]
