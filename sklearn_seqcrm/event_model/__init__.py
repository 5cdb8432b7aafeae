"""A generative model of events: what customers do next, and simulated futures."""

from sklearn_seqcrm.event_model._base import CONSTRAINTS as CONSTRAINTS

# For other packages of the library; no part of its public interface.
from sklearn_seqcrm.event_model._base import BaseEventModel as BaseEventModel
from sklearn_seqcrm.event_model._likelihood import (
    cumulative_hazards as cumulative_hazards,
)
from sklearn_seqcrm.event_model._likelihood import event_log_probs as event_log_probs
from sklearn_seqcrm.event_model._likelihood import (
    states_at_cutoffs as states_at_cutoffs,
)
from sklearn_seqcrm.event_model._lstm_event_model import LSTMEventModel
from sklearn_seqcrm.event_model._simulation_mixin import (
    SimulationMixin as SimulationMixin,
)

__all__ = [
    "LSTMEventModel",
]
