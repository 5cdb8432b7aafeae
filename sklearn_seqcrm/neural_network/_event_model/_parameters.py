"""Parameters of an event model: what they may be."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from sklearn_seqcrm._sklearn_compat import Interval
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
