"""What a network is trained for: a class for each loss.

An objective says all that depends on the loss, and nothing that depends on `X`: which
targets there may be, what the network sees of them, how many outputs it has and where
they start, what a row costs, and what outputs say in the units of the user.

To add a loss of `LSTMRegressor`, write its class and name it in `LOSSES`.
"""

from sklearn_seqcrm._recurrent.objectives._classes import Classes
from sklearn_seqcrm._recurrent.objectives._exposure import (
    Exposure,
    exposure_column,
    learn_exposure,
)
from sklearn_seqcrm._recurrent.objectives._hazards import Hazards
from sklearn_seqcrm._recurrent.objectives._labels import Labels
from sklearn_seqcrm._recurrent.objectives._means import Gamma, Poisson
from sklearn_seqcrm._recurrent.objectives._numbers import (
    AbsoluteError,
    Number,
    SquaredError,
)
from sklearn_seqcrm._recurrent.objectives._objective import Objective, is_multioutput
from sklearn_seqcrm._recurrent.objectives._onnx_graph import OPSET, Graph
from sklearn_seqcrm._recurrent.objectives._quantiles import Quantiles, check_quantiles
from sklearn_seqcrm._recurrent.objectives._survival_curve import (
    SurvivalCurve,
    hazard_at_own_time,
    time_at_hazard,
)
from sklearn_seqcrm._recurrent.objectives._weights import (
    drop_weightless,
    exponent_of,
    in_unit_of,
    mean_weight,
    read_weight,
    scale_to_mean_weight,
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
    "check_quantiles",
    "drop_weightless",
    "exponent_of",
    "exposure_column",
    "hazard_at_own_time",
    "in_unit_of",
    "is_multioutput",
    "learn_exposure",
    "mean_weight",
    "read_weight",
    "scale_to_mean_weight",
    "time_at_hazard",
]
