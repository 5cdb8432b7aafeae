"""Every public estimator of this package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

from sklearn.base import BaseEstimator

import sklearn_seqcrm


def all_estimators() -> list[tuple[str, type[Any]]]:
    """Find every public estimator and transformer of sklearn_seqcrm.

    Returns
    -------
    list of (str, type)
        Name and class of each, by name. Loads all packages, torch included.

    See Also
    --------
    sklearn.utils.discovery.all_estimators : Those of scikit-learn.

    Examples
    --------
    >>> from sklearn_seqcrm.testing import all_estimators
    >>> [name for name, _ in all_estimators()]
    ['ConformalClassifier', 'ConformalRegressor', 'HistoryAggregator', ...]
    """
    found = {}
    for package in pkgutil.iter_modules(sklearn_seqcrm.__path__):
        if package.name.startswith("_"):
            continue
        module = importlib.import_module(f"sklearn_seqcrm.{package.name}")
        for name in module.__all__:
            member = getattr(module, name)
            if inspect.isclass(member) and issubclass(member, BaseEstimator):
                found[name] = member
    return sorted(found.items())
