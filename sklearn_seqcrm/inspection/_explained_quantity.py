"""The explained quantity of a model: a number for each row, and for its copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pandas.api.types import is_list_like
from sklearn.base import is_classifier

from sklearn_seqcrm._meta_estimators import fitted_with
from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._explained_rows import with_column
from sklearn_seqcrm.inspection._perturbations import RowCopies, RowEvents

# Probabilities below it are raised to it, so that log odds stay within +-27.6.
_MIN_PROBABILITY = 1e-12
# Events of all copies that one call predicts. Occlusion copies a row once for each of
# its events, so that n rows of T events come to n * T**2 events.
_MAX_EVENTS = 2**18


@dataclass(frozen=True, eq=False)
class ExplainedQuantity:
    """Explained quantity: one number for each row.

    With ``p_k`` the predicted probability of class ``k``, it is ``p_k``, or the log
    odds ``log p_k - log sum_{j != k} p_j``, or a prediction.
    """

    estimator: Any  # a fitted model
    frame: pd.DataFrame  # n rows
    # (n,), int64: position ``k`` of the class, label or target of each row; None if the
    # model predicts one number.
    codes: np.ndarray | None
    # (n_classes,): the classes, or the positions of labels or targets.
    classes: np.ndarray | None
    unit: str  # "log_odds", "probability" or "prediction"
    # Whether each row has exactly one class; False for several labels, each of which
    # has probabilities of its own.
    is_exclusive: bool = True

    @classmethod
    def of(cls, estimator: Any, X: pd.DataFrame, target: Any, unit: str) -> Self:
        """Choose the quantity of a fitted estimator.

        `target` is a class, None for the second of two classes, or the most probable
        one of each row; for several labels or targets, the position of one, and for the
        effects of several treatments, the label of one. `unit` is that of classifiers.
        """
        name = type(estimator).__name__
        if not hasattr(estimator, "predict"):
            raise TypeError(
                f"{name} has no predict, and predictions are explained. If it has "
                "transform, give a fitted pipeline of it and a classifier or regressor."
            )
        # (1,) for one output, (1, k) for several labels or targets.
        shape = np.shape(estimator.predict(X.iloc[:1]))
        unit = _available_unit(estimator, unit)
        if len(shape) > 1:
            columns, code = _explained_column(estimator, shape[1], target)
            codes = np.full(len(X), code)
            # Labels are not exclusive: 1 - p is the probability of the opposite.
            return cls(estimator, X, codes, columns, unit, is_exclusive=False)
        if unit == "prediction":
            if target is not None:
                raise ValueError(
                    f"target={target!r} is a class, or the position of one of several "
                    f"targets; {name} has neither. Leave it out."
                )
            return cls(estimator, X, None, None, unit)
        classes = np.asarray(estimator.classes_)
        codes = _explained_codes(estimator, X, target, classes)
        return cls(estimator, X, codes, classes, unit)

    @property
    def targets(self) -> np.ndarray | None:
        """Explained class, label or target of each row, shape (n,)."""
        if self.codes is None or self.classes is None:
            return None
        return self.classes[self.codes]

    def predict(self, X: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
        """Compute the quantity for perturbed copies of rows, (m,).

        `X` has the copies; ``rows[i]`` is the position of the row that copy i is of.
        """
        estimator = self.estimator
        if self.unit == "prediction":
            return self.of_outputs(np.asarray(estimator.predict(X)), rows)
        if hasattr(estimator, "predict_proba"):
            output = estimator.predict_proba(X)
            if isinstance(output, list):
                raise ValueError(
                    f"{type(estimator).__name__} returns a list of probabilities, of "
                    "several classifiers in one; explain each by itself."
                )
            return self.of_outputs(np.asarray(output), rows)
        scores = np.asarray(estimator.decision_function(X), dtype="float64")
        assert self.codes is not None
        if scores.ndim == 1:  # of the second class
            return np.where(self.codes[rows] == 1, scores, -scores)
        return scores[np.arange(len(scores)), self.codes[rows]]

    def of_outputs(self, outputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Compute the quantity from probabilities or predictions, (m,).

        `outputs` (m,) or (m, k) are those for the rows at the positions `rows`, (m,).
        """
        outputs = outputs.astype("float64", copy=False)
        if self.codes is None:
            return outputs
        place = np.arange(len(outputs)), self.codes[rows]
        own = outputs[place]
        if self.unit != "log_odds":
            return own
        if self.is_exclusive:
            # The sum of the others, since 1 - p would round a tiny rest to 0.
            is_other = np.ones(outputs.shape, dtype=bool)
            is_other[place] = False
            others = outputs.sum(axis=1, where=is_other)
        else:
            others = 1 - own
        least = _MIN_PROBABILITY
        return np.log(np.maximum(own, least)) - np.log(np.maximum(others, least))

    def predict_copies(
        self,
        name: Any,
        array: HistoryArray,
        row: np.ndarray,
        perturb: Callable[[RowCopies], HistoryArray],
        n_jobs: int | None,
    ) -> np.ndarray:
        """Compute the quantity for perturbed copies of rows, block by block.

        `array` has the histories of the column `name`, (n,), and `row` the row of each
        copy, (n_copies,); `perturb` returns the perturbed histories of a block of
        copies, and `n_jobs` blocks are predicted at a time. Returns the values,
        (n_copies,).
        """
        # + 1: a copy without events takes memory, too.
        load = np.cumsum(array.lengths[row] + 1)
        cuts = np.flatnonzero(np.diff(load // _MAX_EVENTS)) + 1
        call: Callable[..., Any] = delayed(self._predict_block)
        values = Parallel(n_jobs=n_jobs)(
            call(name, array, row, block, perturb)
            for block in np.split(np.arange(len(row)), cuts)
            if len(block)
        )
        return np.concatenate([np.empty(0), *values])  # of no copies: empty

    def _predict_block(
        self,
        name: Any,
        array: HistoryArray,
        row: np.ndarray,
        block: np.ndarray,
        perturb: Callable[[RowCopies], HistoryArray],
    ) -> np.ndarray:
        # events of rows    a a a b b   (end: 3, 5)     row of block  [b, a]
        # events of copies  b b a a a   place: 3 4 0 1 2, row: 0 0 1 1 1
        own = row[block]
        # Found here, in the process of the block: a pickled array has a log of its own
        # customers only, in which events have other positions.
        copies = array[own]
        events = RowEvents.of(copies)
        end = np.cumsum(array.lengths)[own]
        place, _ = ranges(end - array.lengths[own], end)
        perturbed = perturb(RowCopies(copies, events, place, block[events.row]))
        return self.predict(with_column(self.frame.iloc[own], name, perturbed), own)


def unit_label(estimator: Any, unit: str) -> str:
    """Return the name of the explained quantity, for the axes of displays."""
    if not is_classifier(estimator):
        # `predict` of survival models returns risks, not times.
        for name, label in (
            ("treatments_", "effect"),
            ("predict_survival_function", "risk"),
        ):
            if hasattr(fitted_with(estimator, name), name):
                return label
        return "prediction"
    if not hasattr(estimator, "predict_proba"):
        return "decision function"
    return unit.replace("_", " ")


def _available_unit(estimator: Any, unit: str) -> str:
    """Return the unit of an estimator; a classifier must have a method for it."""
    if not is_classifier(estimator):
        return "prediction"
    if hasattr(estimator, "predict_proba"):
        return unit
    if unit == "log_odds" and hasattr(estimator, "decision_function"):
        return unit
    raise ValueError(
        f"{type(estimator).__name__} has no predict_proba; calibrate it, or set "
        "unit='log_odds' if it has a decision_function."
    )


def _explained_column(
    estimator: Any, n_columns: int, target: Any
) -> tuple[np.ndarray, int]:
    """Return the labels or positions of outputs, and the place of the target."""
    columns, what = np.arange(n_columns), "position"
    treatments = getattr(fitted_with(estimator, "treatments_"), "treatments_", None)
    if treatments is not None:
        columns, what = treatments[1:], "treatment"
    places = columns.tolist()
    if target is None or target not in places:
        raise ValueError(
            f"{type(estimator).__name__} predicts {len(places)} numbers for each row, "
            f"and one can be explained: give target=, its {what}, {places}; got "
            f"{target!r}."
        )
    return columns, places.index(target)


def _explained_codes(
    estimator: Any, X: pd.DataFrame, target: Any, classes: np.ndarray
) -> np.ndarray:
    """Return the position of the explained class of each row, shape (n,)."""
    if target is not None:
        labels = list(pd.Index(classes))
        is_one = isinstance(target, tuple) or not is_list_like(target)
        if not is_one or target not in labels:
            raise ValueError(f"target={target!r} is none of the classes {labels}.")
        return np.full(len(X), labels.index(target))
    if len(classes) == 2:
        return np.ones(len(X), dtype="int64")
    return np.searchsorted(classes, estimator.predict(X))  # classes_ are sorted
