"""Which quantile a regressor predicts, by the loss that it is fitted with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

# What scikit-learn, LightGBM, XGBoost and CatBoost call their losses and quantiles.
_LOSSES = ("loss", "objective", "loss_function", "strategy")
_LEVELS = ("quantile", "quantile_alpha", "alpha")
_OF_QUANTILES = ("quantile", "reg:quantileerror")
_OF_MEDIANS = ("absolute_error", "mae", "l1", "regression_l1", "reg:absoluteerror")
_WRAPPED = ("estimator", "regressor")


def predicted_quantile(part: Any) -> float | str | None:
    """Tell which quantile a part predicts.

    Parameters
    ----------
    part : estimator
        A regressor, a pipeline with one at the end, or a search around either.

    Returns
    -------
    float, "mean" or None
        The quantile; ``"mean"`` if it has another loss; None if it has no parameter
        that names one.
    """
    innermost = _innermost(part)
    if not hasattr(innermost, "get_params"):
        return None  # no estimator, which fit refuses
    params = innermost.get_params(deep=False)
    loss = next((name for name in _LOSSES if name in params), None)
    if loss is None:
        # QuantileRegressor of scikit-learn has that loss alone.
        return float(params["quantile"]) if "quantile" in params else None
    name = str(params[loss]).lower()
    if name in (*_OF_MEDIANS, "median"):
        return 0.5
    if name in _OF_QUANTILES:
        return _level(params)
    if name.startswith("quantile:alpha="):  # CatBoost
        return float(name.removeprefix("quantile:alpha="))
    return "mean"


def common_quantile(parts: Mapping[str, Any]) -> float | None:
    """The quantile that all parts predict; None if they predict means.

    Raises
    ------
    ValueError
        If some predict another quantile than others, or means.
    """
    found = {name: predicted_quantile(part) for name, part in parts.items()}
    known = {one for one in found.values() if one is not None}
    if len(known) > 1:
        says = ", ".join(
            f"{name} {'the mean' if one == 'mean' else f'the quantile {one:g}'}"
            for name, one in found.items()
        )
        raise ValueError(
            "A hybrid blends predictions of one and the same quantity; by their losses "
            f"the parts predict different ones: {says}. Give both the same loss, such "
            "as LSTMRegressor(loss='quantile', quantile=0.9) and "
            "HistGradientBoostingRegressor(loss='quantile', quantile=0.9)."
        )
    quantiles = [one for one in known if isinstance(one, float)]
    return quantiles[0] if quantiles else None


def _innermost(part: Any) -> Any:
    """The estimator within pipelines, searches and transformed targets."""
    while True:
        if isinstance(part, Pipeline):
            part = part.steps[-1][1]
            continue
        wrapped = [getattr(part, name) for name in _WRAPPED if hasattr(part, name)]
        if not wrapped or not hasattr(wrapped[0], "get_params"):
            return part
        part = wrapped[0]


def _level(params: Mapping[str, Any]) -> float:
    """The quantile; of several the one next to the median, as `predict` has it."""
    given = [params[name] for name in _LEVELS if params.get(name) is not None]
    levels = np.atleast_1d(np.asarray(given[0] if given else 0.9, dtype="float64"))
    return float(levels[np.abs(levels - 0.5).argmin()])
