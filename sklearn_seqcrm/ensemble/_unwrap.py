"""What the parts of a hybrid wrap: their losses and parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sklearn.pipeline import Pipeline

# Names of the parameter for the loss in scikit-learn, LightGBM, XGBoost and CatBoost.
_LOSSES = ("loss", "objective", "loss_function", "strategy")
_WRAPPED = ("estimator", "regressor", "classifier")


def unwrapped(part: Any) -> Iterator[Any]:
    """Yield an estimator, the last step of a pipeline, what a search wraps, and so on.

    Parameters
    ----------
    part : estimator
        Estimator, or a pipeline, search or other meta-estimator of one.
    """
    while True:
        yield part
        if isinstance(part, Pipeline):
            part = part.steps[-1][1]
            continue
        wrapped = [getattr(part, name) for name in _WRAPPED if hasattr(part, name)]
        if not wrapped or not hasattr(wrapped[0], "get_params"):
            return
        part = wrapped[0]


def innermost(part: Any) -> Any:
    """Return the estimator within pipelines, searches, transformed targets, rates."""
    *_, last = unwrapped(part)
    return last


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
