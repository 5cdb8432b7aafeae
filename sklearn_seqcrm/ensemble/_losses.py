"""What the parts of a hybrid wrap: their losses and parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm._sklearn_compat import innermost, unwrapped

# Names of the parameter for the loss in scikit-learn, LightGBM, XGBoost and CatBoost.
_LOSSES = ("loss", "objective", "loss_function", "strategy")


def loss_of(part: Any) -> str | None:
    """Return the loss of the innermost estimator, in lower case; None if unknown."""
    last = innermost(part)
    params = last.get_params(deep=False) if hasattr(last, "get_params") else {}
    return next((str(params[name]).lower() for name in _LOSSES if name in params), None)


def parameter_of(part: Any, name: str) -> Any:
    """Return a parameter of an estimator or of one that it wraps, the first not None.

    Parameters
    ----------
    part : estimator or None
        The estimator.
    name : str
        Name of the parameter, such as ``"exposure"`` or ``"bins"``.
    """
    found = (getattr(one, name, None) for one in unwrapped(part))
    return next((value for value in found if value is not None), None)


def nearest_median(quantiles: Any) -> float:
    """Return the quantile nearest the median, which networks and CatBoost predict."""
    quantiles = np.atleast_1d(np.asarray(quantiles, dtype="float64"))
    return float(quantiles[np.abs(quantiles - 0.5).argmin()])
