"""What a network is trained for: a class for each loss.

An objective says all that depends on the loss, and nothing that depends on `X`: which
targets there may be, what the network sees of them, how many outputs it has and where
they start, what a row costs, and what outputs say in the units of the user.

To add a loss of `LSTMRegressor`, write its class and name it in `LOSSES`.
"""

from sklearn_seqcrm._recurrent.objectives._classes import Classes
from sklearn_seqcrm._recurrent.objectives._exposure import (
    Exposure,
    learn_exposure,
    place_of_exposure,
)
from sklearn_seqcrm._recurrent.objectives._hazards import Hazards
from sklearn_seqcrm._recurrent.objectives._labels import Labels
from sklearn_seqcrm._recurrent.objectives._means import Gamma, Poisson
from sklearn_seqcrm._recurrent.objectives._numbers import (
    AbsoluteError,
    Number,
    SquaredError,
)
from sklearn_seqcrm._recurrent.objectives._objective import Objective, are_several
from sklearn_seqcrm._recurrent.objectives._onnx_graph import OPSET, Graph
from sklearn_seqcrm._recurrent.objectives._quantiles import Quantiles, levels_of
from sklearn_seqcrm._recurrent.objectives._survival_curve import (
    SurvivalCurve,
    at_own_time,
    time_of,
)
from sklearn_seqcrm._recurrent.objectives._weights import (
    exponent_of,
    in_unit_of,
    leave_out_weightless,
    mean_weight,
    over_mean_weight,
    read_weight,
)
from sklearn_seqcrm._recurrent.objectives._zero_inflated import ZeroInflatedLognormal

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
    "OPSET",
    "AbsoluteError",
    "Classes",
    "Exposure",
    "Gamma",
    "Graph",
    "Hazards",
    "Labels",
    "Number",
    "Objective",
    "Poisson",
    "Quantiles",
    "SquaredError",
    "SurvivalCurve",
    "ZeroInflatedLognormal",
    "are_several",
    "at_own_time",
    "exponent_of",
    "in_unit_of",
    "learn_exposure",
    "leave_out_weightless",
    "levels_of",
    "mean_weight",
    "over_mean_weight",
    "place_of_exposure",
    "read_weight",
    "time_of",
]
