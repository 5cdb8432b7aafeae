"""Parameters of an event model and of its methods: what they may be."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from sklearn_seqcrm._sklearn_compat import Interval, validate_parameter_constraints
from sklearn_seqcrm.neural_network._parameters import CONSTRAINTS as OF_NETWORKS

# What concerns heads, and what a row reads of outputs, it does not have.
_WITHOUT = ("bidirectional", "head_sizes", "level_dropout", "n_networks", "pooling")

CONSTRAINTS: dict[str, list[Any]] = {
    **{name: one for name, one in OF_NETWORKS.items() if name not in _WITHOUT},
    "max_epochs": [Interval(Integral, 1, None, closed="left")],
    "copies": ["boolean"],
    "n_components": [Interval(Integral, 1, None, closed="left")],
    "min_frequency": [
        Interval(Integral, 1, None, closed="left"),
        Interval(Real, 0, 1, closed="neither"),
        None,
    ],
    "max_categories": [Interval(Integral, 1, None, closed="left"), None],
}

_COUNT = Interval(Integral, 1, None, closed="left")
_OF_METHODS: dict[str, list[Any]] = {
    "n": [_COUNT],
    "n_draws": [_COUNT, None],
    "n_paths": [_COUNT],
    "interval": [Interval(Real, 0, 1, closed="neither")],
    "basket": ["boolean"],
    "exclude_seen": ["boolean"],
    "random_state": ["random_state"],
    "target": [callable],
}


def check_arguments(method: str, **given: Any) -> None:
    """Raise an error for arguments of a method that are of a wrong type or range.

    scikit-learn's decorator would rename errors of a target that a user hands in.
    """
    validate_parameter_constraints(_OF_METHODS, given, f"LSTMEventModel.{method}")
