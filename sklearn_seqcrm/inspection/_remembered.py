"""What a fitted model said of rows, scored on some of them without asking again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import get_tags

from sklearn_seqcrm._sklearn_compat import safe_indexing

_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


class Remembered:
    """A fitted model in front of the rows of one table, which asks it once.

    Scorers take it for the model. It answers for the rows that `look_at` named last,
    whatever it is given.

    Parameters
    ----------
    fitted : fitted estimator
        The model.
    X : DataFrame of shape (n, n_columns)
        All rows.
    """

    def __init__(self, fitted: Any, X: pd.DataFrame) -> None:
        self._fitted = fitted
        self._X = X
        self._said: dict[str, Any] = {}
        self._rows: Any = slice(None)

    def __getattr__(self, name: str) -> Any:
        """What the model has, and its answers."""
        if name.startswith("__"):  # which copies and pickles look for
            raise AttributeError(name)
        found = getattr(self._fitted, name)
        if name not in _METHODS:
            return found

        def ask(X: Any) -> Any:
            if name not in self._said:
                self._said[name] = np.asarray(found(self._X))
            return self._said[name][self._rows]

        # scikit-learn reads it to know what comes back.
        ask.__name__ = name
        return ask

    def __sklearn_tags__(self) -> Any:
        """What kind of model it is."""
        return get_tags(self._fitted)

    def score(
        self,
        scorer: Callable[..., float],
        y: Any,
        rows: np.ndarray,
        sample_weight: np.ndarray | None,
    ) -> float:
        """Score what the model said of some rows.

        Parameters
        ----------
        scorer : callable
            ``scorer(model, X, y)``, and `sample_weight` if there are weights.
        y : array-like of shape (n,)
            Targets of all rows.
        rows : ndarray of int64
            The rows to score.
        sample_weight : ndarray of shape (n,) or None
            Weights of all rows.
        """
        self._rows = rows
        weight = {} if sample_weight is None else {"sample_weight": sample_weight[rows]}
        found = scorer(self, self._X.iloc[rows], safe_indexing(y, rows), **weight)
        return float(found)
