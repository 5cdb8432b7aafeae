"""The metrics of a comparison: scorers of scikit-learn, under any weights of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from inspect import isfunction, signature
from typing import Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.exceptions import UndefinedMetricWarning

from sklearn_seqcrm._columns import read_survival_targets
from sklearn_seqcrm._ragged import concordance
from sklearn_seqcrm._sklearn_compat import safe_indexing
from sklearn_seqcrm.metrics import get_scorer
from sklearn_seqcrm.model_selection._weighted_scores import FAST, NotHandledError, Score


class Data(NamedTuple):
    """Rows, their targets and their metadata."""

    X: Any  # n rows
    y: Any  # their targets
    # Metadata of n rows: further arguments of `fit` and of metrics.
    params: Mapping[str, Any]

    def take(self, rows: np.ndarray) -> Data:
        """Return the rows at some positions."""
        params = {name: safe_indexing(one, rows) for name, one in self.params.items()}
        return Data(safe_indexing(self.X, rows), safe_indexing(self.y, rows), params)


class Metric(NamedTuple):
    """A scorer of scikit-learn, for which higher is better."""

    name: str  # the user's name for it
    scorer: Callable[..., float]  # ``scorer(model, X, y, sample_weight=...)``
    known_as: str | None  # its name in `get_scorer`, if it was given by name

    def takes(self, name: str) -> bool:
        """Return whether the metric has an argument of this name."""
        metric = getattr(self.scorer, "_score_func", self.scorer)
        return name in signature(metric).parameters

    def on(self, model: Any, data: Data) -> Score:
        """Return a function that scores the predictions under any weights."""
        if self.known_as in FAST:
            with suppress(NotHandledError):
                return FAST[self.known_as](model, data.X, np.asarray(data.y))
        return self._by_scorer(model, data)

    def check(self, model: Any, data: Data) -> None:
        """Compute the outputs that the score needs, and refuse rows without a score.

        Raises a ValueError if the score is not defined on these rows.
        """
        n_rows = len(data.y)
        if np.isnan(self.on(model, data)(np.ones((1, n_rows)))).any():
            raise ValueError(
                f"The score {self.name!r} is not defined on the {n_rows} test rows of "
                "a fold, as an area under a curve is not if they are of one class; "
                "choose folds with more rows, or another score."
            )

    def _by_scorer(self, model: Any, data: Data) -> Score:
        X, y, given = data
        params = {name: value for name, value in given.items() if self.takes(name)}
        params.pop("sample_weight", None)  # in a score, the weights of a sample
        # Scorers of scikit-learn take further arguments only with metadata routing.
        setting = {"enable_metadata_routing": True} if params else {}

        def one(weight: np.ndarray) -> float:
            try:
                with config_context(**setting):
                    found = self.scorer(model, X, y, **params, sample_weight=weight)
                return float(found)
            except ValueError:
                if weight.all():
                    raise
                return np.nan  # not defined on this bootstrap sample
            except TypeError as error:
                if "sample_weight" not in str(error):
                    raise
                raise TypeError(
                    f"The metric {self.name!r} takes no sample_weight, by which "
                    "customers are resampled."
                ) from error

        def score(weights: np.ndarray) -> np.ndarray:
            with warnings.catch_warnings():
                # A sample without positives, for example: its score is NaN.
                warnings.simplefilter("ignore", UndefinedMetricWarning)
                if (weights != 1).any():
                    # Each sample of the customers would repeat that of all.
                    warnings.simplefilter("ignore")
                return np.array([one(weight) for weight in weights])

        return score


def read_metrics(scoring: Any) -> list[Metric]:
    """Return the scores that `scoring` names, in any form that scikit-learn takes."""
    named: dict[str, Any]
    if isinstance(scoring, str):
        named = {scoring: scoring}
    elif isinstance(scoring, Mapping):
        named = dict(scoring)
    elif callable(scoring):
        named = {"score": scoring}
    elif isinstance(scoring, Iterable):
        named = {name: name for name in scoring}
    else:
        named = {"": None}
    if not named:
        raise ValueError("scoring must name at least one score.")
    for found in named.values():
        if not (isinstance(found, str) or callable(found)):
            raise TypeError(
                "scoring must be the name of a score, a list of such names, or a dict "
                f"of names to scorers (make_scorer makes them); got {scoring!r}."
            )
        if isfunction(found) and "y_true" in [*signature(found).parameters][:1]:
            name = found.__name__
            raise TypeError(
                f"scoring has the metric {name}, which compares two arrays; make a "
                f"scorer of it, make_scorer({name}), with greater_is_better=False if "
                "it is a loss."
            )
    return [
        Metric(name, _scorer_of(s), s) if isinstance(s, str) else Metric(name, s, None)
        for name, s in named.items()
    ]


def _scorer_of(name: str) -> Callable[..., float]:
    if name == "concordance":
        return _concordance
    try:
        return get_scorer(name)
    except ValueError as error:
        error.add_note("compare_models also has 'concordance', for survival models.")
        raise


def _concordance(model: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Return Harrell's c: the share of pairs whose earlier event has more risk."""
    risk = np.asarray(model.predict(X), dtype="float64")
    found = read_survival_targets(y)
    return concordance(found.kind > 0, found.time, risk, sample_weight)
