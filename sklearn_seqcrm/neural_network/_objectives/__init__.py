"""What a network is trained for: a class for each loss.

An objective says all that depends on the loss, and nothing that depends on `X`: which
targets there may be, what the network sees of them, how many outputs it has and where
they start, what a row costs, and what outputs say in the units of the user.

To add a loss of `LSTMRegressor`, write its class and name it in `LOSSES`.
"""

from sklearn_seqcrm.neural_network._objectives._checks import are_several
from sklearn_seqcrm.neural_network._objectives._classes import Classes
from sklearn_seqcrm.neural_network._objectives._labels import Labels
from sklearn_seqcrm.neural_network._objectives._means import Gamma, Poisson
from sklearn_seqcrm.neural_network._objectives._numbers import (
    AbsoluteError,
    Number,
    SquaredError,
)
from sklearn_seqcrm.neural_network._objectives._objective import Objective
from sklearn_seqcrm.neural_network._objectives._quantiles import Quantiles, levels_of
from sklearn_seqcrm.neural_network._objectives._zero_inflated import (
    ZeroInflatedLognormal,
)

LOSSES: dict[str, type[Number]] = {
    loss.name: loss
    for loss in (
        SquaredError,
        AbsoluteError,
        Poisson,
        Gamma,
        Quantiles,
        ZeroInflatedLognormal,
    )
}

__all__ = [
    "LOSSES",
    "Classes",
    "Labels",
    "Number",
    "Objective",
    "Quantiles",
    "are_several",
    "levels_of",
]
