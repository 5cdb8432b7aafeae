"""Losses of the parts of a hybrid, and parameters that they must share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sklearn_seqcrm._meta_estimators import innermost
from sklearn_seqcrm._recurrent.objectives import LOSSES

# Names of the parameter for the loss in scikit-learn, LightGBM, XGBoost and CatBoost.
_LOSSES = ("loss", "objective", "loss_function", "strategy")
# Names and values of parameters for quantiles in scikit-learn, LightGBM, XGBoost and
# CatBoost.
_QUANTILES = ("quantile", "quantile_alpha", "alpha")
_OF_QUANTILES = ("quantile", "reg:quantileerror")
_OF_MEDIANS = (
    *("absolute_error", "mean_absolute_error", "mae", "l1", "regression_l1"),
    "reg:absoluteerror",
)
# What losses predict that are neither of a mean nor of one quantile, which no blend
# with a network can have. That of MAPE is a median weighted by 1 / y.
_OF_OTHERS = {
    "mape": "the median of MAPE",
    "mean_absolute_percentage_error": "the median of MAPE",
    "multiquantile": "several quantiles",
    "loglinquantile": "the logarithm of a quantile",
    "expectile": "an expectile",
    "reg:expectileerror": "an expectile",
}


def loss_of(part: Any) -> str | None:
    """Return the loss of the innermost estimator, in lower case; None if unknown."""
    last = innermost(part)
    params = last.get_params(deep=False) if hasattr(last, "get_params") else {}
    return next((str(params[name]).lower() for name in _LOSSES if name in params), None)


def nearest_median(quantiles: Any) -> float:
    """Return the quantile nearest the median, which networks and CatBoost predict."""
    quantiles = np.atleast_1d(np.asarray(quantiles, dtype="float64"))
    return float(quantiles[np.abs(quantiles - 0.5).argmin()])


def predicted_quantile(part: Any) -> float | str | None:
    """Return the quantile that a part predicts, judged by its loss.

    The part is a regressor, a pipeline with one at the end, or a search around either.
    The result is ``"mean"`` if it has another loss, or the quantity of one of
    `_OF_OTHERS`; None if it has no parameter that names one.
    """
    last = innermost(part)
    params = last.get_params(deep=False)
    name = loss_of(last)
    if name in LOSSES:
        name = LOSSES[name].boosting_loss
    if name is None:
        # QuantileRegressor of scikit-learn has no other loss.
        return float(params["quantile"]) if "quantile" in params else None
    if name in (*_OF_MEDIANS, "median"):
        return 0.5
    if name in _OF_QUANTILES:
        several = np.size(params.get("quantile_alpha")) > 1  # XGBoost returns them all
        return _OF_OTHERS["multiquantile"] if several else _quantile(params)
    if name.startswith("quantile:"):  # CatBoost: "Quantile:alpha=0.9;delta=0.1"
        options = name.removeprefix("quantile:").split(";")
        given = dict(one.split("=") for one in options)
        return float(given.get("alpha", 0.5))
    return _OF_OTHERS.get(name.partition(":alpha")[0], "mean")


def common_quantile(parts: Mapping[str, Any]) -> float | None:
    """Return the quantile that all parts predict; None if they predict means.

    Raises a ValueError if the parts predict different quantities by their losses.
    """
    found = {name: predicted_quantile(part) for name, part in parts.items()}
    known = {one for one in found.values() if one is not None}
    if len(known) > 1 or known & set(_OF_OTHERS.values()):
        listed = " and ".join(
            f"{name} predicts {_in_words(one)}" for name, one in found.items()
        )
        raise ValueError(
            "Both parts of a hybrid must predict the mean, or the same quantile; by "
            f"their losses, {listed}. Give both the same loss, for "
            "example LSTMRegressor(loss='quantile', quantile=0.9) and "
            "HistGradientBoostingRegressor(loss='quantile', quantile=0.9)."
        )
    # A part with an unknown loss is assumed to predict the same quantity as the other.
    quantiles = [one for one in known if isinstance(one, float)]
    return quantiles[0] if quantiles else None


def _in_words(quantity: float | str | None) -> str:
    """Return what `predicted_quantile` found as words of an error."""
    if isinstance(quantity, float):
        return f"the quantile {quantity:g}"
    if quantity is None:
        return "an unknown quantity"
    return "the mean" if quantity == "mean" else quantity


def _quantile(params: Mapping[str, Any]) -> float:
    """Return the quantile; of several the one nearest the median, as `predict` does."""
    given = [params[name] for name in _QUANTILES if params.get(name) is not None]
    # No parameter before one is set: the default of CatBoost, and that of LightGBM.
    default = 0.5 if "loss_function" in params else 0.9
    return nearest_median(given[0] if given else default)
