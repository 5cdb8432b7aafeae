"""A stand-in for a fitted model that computes each of its outputs once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import get_tags

_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


class StoredOutputs:
    """A fitted model whose outputs are stored; scorers take it for the model itself.

    An output belongs to the rows of the first call of its method. Every later call
    returns it, whatever rows are passed, so that many scores cost one prediction.

    Parameters
    ----------
    model : fitted estimator
        The model.
    X : n rows or None, default=None
        Rows to predict instead of those of the first call, so that `rows` may choose
        among them.

    Attributes
    ----------
    outputs : dict of str to ndarray of shape (n, ...), or list of them
        Stored outputs by method. A list has one array for each of several labels.
    rows : ndarray of int64 or None
        Positions of the rows whose outputs are returned; None: all.
    seconds : float
        Time that the predictions took.
    """

    def __init__(self, model: Any, X: Any = None) -> None:
        self._model = model
        self._X = X
        self.outputs: dict[str, Any] = {}
        self.rows: np.ndarray | None = None
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the model; predictions store their output."""
        if name.startswith("__"):  # copy and pickle look these up before _model exists
            raise AttributeError(name)
        is_stored = name in self.outputs
        # Asked here and not in the call: hasattr must be False if it has no such
        # method.
        attribute: Any = None if is_stored else getattr(self._model, name)
        if not is_stored and name not in _METHODS:
            return attribute

        def call(X: Any) -> Any:
            if name not in self.outputs:
                self._store(name, attribute, X)
            output, rows = self.outputs[name], self.rows
            if rows is None:
                return output
            many = isinstance(output, list)
            return [one[rows] for one in output] if many else output[rows]

        # scikit-learn infers from the name which type of output it gets.
        call.__name__ = name
        return call

    def __sklearn_tags__(self) -> Any:
        """Return the tags of the model."""
        return get_tags(self._model)

    def without_model(self) -> StoredOutputs:
        """Return the stored outputs, with only the labels and tags of the model."""
        copy = StoredOutputs(_Facts(self._model))
        copy.outputs = self.outputs
        return copy

    def _store(self, name: str, method: Callable[[Any], Any], X: Any) -> None:
        start = time.perf_counter()
        output = method(X if self._X is None else self._X)
        self.outputs[name] = output if isinstance(output, list) else np.asarray(output)
        self.seconds += time.perf_counter() - start


class _Facts:
    """Labels and tags of a model, which scorers read beside its outputs."""

    def __init__(self, model: Any) -> None:
        self.tags = get_tags(model)
        for labels in ("classes_", "treatments_"):
            if hasattr(model, labels):
                setattr(self, labels, getattr(model, labels))
        # A pipeline or a search does not have the treatments of its estimator.
        if hasattr(model, "best_estimator_"):
            self.best_estimator_ = _Facts(model.best_estimator_)
        elif hasattr(model, "steps"):
            self.steps = [("estimator", _Facts(model.steps[-1][1]))]

    def __sklearn_tags__(self) -> Any:
        return self.tags
