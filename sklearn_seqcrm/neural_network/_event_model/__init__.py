"""The generative model of events: when the next one comes, and what it is."""

from sklearn_seqcrm.neural_network._event_model._base import BaseEventModel
from sklearn_seqcrm.neural_network._event_model._demand import DemandCells
from sklearn_seqcrm.neural_network._event_model._draws import keys_of
from sklearn_seqcrm.neural_network._event_model._futures import (
    simulated_targets,
    table_of,
)
from sklearn_seqcrm.neural_network._event_model._likelihood import (
    cumulative_hazards,
    event_log_probs,
    states_at_cutoffs,
)
from sklearn_seqcrm.neural_network._event_model._next_baskets import BasketSimulator
from sklearn_seqcrm.neural_network._event_model._next_values import (
    allowed_levels,
    best_values,
    level_field,
    levels_seen,
    next_probabilities,
    probabilities_within,
)
from sklearn_seqcrm.neural_network._event_model._parameters import (
    CONSTRAINTS,
    check_arguments,
)
from sklearn_seqcrm.neural_network._event_model._simulate import (
    SimulatedEvents,
    Simulator,
)

__all__ = [
    "CONSTRAINTS",
    "BaseEventModel",
    "BasketSimulator",
    "DemandCells",
    "SimulatedEvents",
    "Simulator",
    "allowed_levels",
    "best_values",
    "check_arguments",
    "cumulative_hazards",
    "event_log_probs",
    "keys_of",
    "level_field",
    "levels_seen",
    "next_probabilities",
    "probabilities_within",
    "simulated_targets",
    "states_at_cutoffs",
    "table_of",
]
