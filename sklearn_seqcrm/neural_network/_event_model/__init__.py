"""The generative model of events: when the next one comes, and what it is."""

from sklearn_seqcrm.neural_network._event_model._base import BaseEventModel
from sklearn_seqcrm.neural_network._event_model._likelihood import (
    cumulative_hazards,
    event_log_probs,
    states_at_cutoffs,
)
from sklearn_seqcrm.neural_network._event_model._parameters import CONSTRAINTS
from sklearn_seqcrm.neural_network._event_model._simulation_mixin import SimulationMixin

__all__ = [
    "CONSTRAINTS",
    "BaseEventModel",
    "SimulationMixin",
    "cumulative_hazards",
    "event_log_probs",
    "states_at_cutoffs",
]
