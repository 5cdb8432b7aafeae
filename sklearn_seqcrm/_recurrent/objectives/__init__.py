"""Objectives: targets, loss and predictions of a network, a class for each loss.

An objective holds everything that depends on the loss and nothing that depends on `X`:
which targets are valid, how they are encoded, the number of outputs and their initial
bias, the loss of a row, and predictions in the units of the targets.

To add a loss of `LSTMRegressor`, write its class in a file and name it in `LOSSES`.
Streaming and ONNX follow from its `predict`.
"""

from sklearn_seqcrm._recurrent.objectives._bins import BINS, time_step
from sklearn_seqcrm._recurrent.objectives._classes import Classes, Labels
from sklearn_seqcrm._recurrent.objectives._exposure import Exposure
from sklearn_seqcrm._recurrent.objectives._hazards import Hazards, bin_hazards
from sklearn_seqcrm._recurrent.objectives._means import Gamma, Poisson
from sklearn_seqcrm._recurrent.objectives._numbers import (
    AbsoluteError,
    Number,
    SquaredError,
)
from sklearn_seqcrm._recurrent.objectives._objective import Objective, is_multioutput
from sklearn_seqcrm._recurrent.objectives._onnx_graph import OPSET, Graph, GraphTensor
from sklearn_seqcrm._recurrent.objectives._quantiles import Quantiles, check_quantiles
from sklearn_seqcrm._recurrent.objectives._survival_curve import SurvivalCurve
from sklearn_seqcrm._recurrent.objectives._survival_predictions import (
    SurvivalPredictionsMixin,
    check_return_array,
)
from sklearn_seqcrm._recurrent.objectives._treatments import (
    OutcomesByTreatment,
    TreatedOutcomes,
)
from sklearn_seqcrm._recurrent.objectives._weights import (
    drop_weightless,
    exponent_of,
    has_weight,
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
# Losses that predict means, of which differences are effects on the mean.
LOSSES_OF_MEANS = {
    name
    for name, loss in LOSSES.items()
    if loss.boosting_loss not in ("absolute_error", "quantile")
}
