"""The quantity of a model that is explained, and the rows it is computed for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import Table, check_raw, one_history
from sklearn_seqcrm.events import HistoryArray


class Asked(NamedTuple):
    """Rows, and the histories among their columns that will change.

    Parameters
    ----------
    frame : DataFrame of shape (n, n_columns)
        The rows, with histories as history columns.
    name : str
        Name of the history column.
    array : HistoryArray of shape (n,)
        Its raw histories, none of them missing.
    """

    frame: pd.DataFrame
    name: Any
    array: HistoryArray

    def with_histories(self, array: HistoryArray) -> pd.DataFrame:
        """The rows with other histories."""
        return with_column(self.frame, self.name, array)


def with_column(X: pd.DataFrame, name: Any, values: Any) -> pd.DataFrame:
    """Rows with other values in a column, whose name need not be text."""
    X = X.copy(deep=False)
    X[name] = values
    return X


def read_asked(estimator: Any, X: Any, history: Any, reader: str) -> Asked:
    """Read the rows that a fitted estimator is asked about.

    Parameters
    ----------
    estimator : fitted estimator
        Which takes raw X.
    X : DataFrame of shape (n, n_columns)
        Rows.
    history : str or None
        Name of the history column; None: the only one.
    reader : str
        Who asks, for errors.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    KeyError, TypeError, ValueError
        If there is no such column, or its histories are encoded or missing.
    """
    check_is_fitted(estimator)
    table = Table.of(X).refuse_no_rows(reader)
    array = check_raw(one_history(table.frame, history), reader)
    [name] = [name for name, one in table.histories.items() if one is array]
    return Asked(table.frame, name, array)


# Certainty beyond it counts as this: log odds of 27.6.
_LEAST = 1e-12


@dataclass(frozen=True, eq=False)
class Question:
    """What is explained of each of n rows.

    Parameters
    ----------
    codes : ndarray of shape (n,), int64, or None
        Position of the class, label or target of each row; None if there is one number.
    classes : ndarray of shape (n_classes,) or None
        The classes, or numbers of the labels.
    unit : {"log_odds", "probability", "prediction"}
        What the numbers are.
    excludes : bool, default=True
        Whether a row of one class is of none of the others.
    """

    codes: np.ndarray | None
    classes: np.ndarray | None
    unit: str
    excludes: bool = True

    @classmethod
    def of(cls, estimator: Any, X: pd.DataFrame, target: Any, unit: str) -> Self:
        """What to explain of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            A classifier or a regressor.
        X : DataFrame of n rows
            The rows.
        target : object
            A class; None: the second of two, or the most probable one of each row. Of
            several labels or targets, the position of one.
        unit : {"log_odds", "probability"}
            Unit for classifiers.
        """
        shape = np.shape(estimator.predict(X.iloc[:1]))
        name = type(estimator).__name__
        if not is_classifier(estimator):
            unit = "prediction"
        elif not _has_numbers(estimator, unit):
            raise ValueError(
                f"{name} has no predict_proba; calibrate it, or ask for "
                "unit='log_odds' if it has a decision_function."
            )
        if len(shape) > 1:
            columns = np.arange(shape[1])
            if target is None or target not in columns:
                raise ValueError(
                    f"{name} predicts {len(columns)} numbers for each row, and one can "
                    f"be explained: give target=, its position, {columns.tolist()}; "
                    f"got {target!r}."
                )
            codes = np.full(len(X), int(target))
            return cls(codes, columns, unit, excludes=False)
        if unit == "prediction":
            if target is not None:
                raise ValueError(
                    f"target={target!r} is a class, or the position of one of several "
                    f"targets; {name} has neither. Leave it out."
                )
            return cls(None, None, unit)
        classes = np.asarray(estimator.classes_)
        return cls(_codes_of(estimator, X, target, classes), classes, unit)

    def ask(self, estimator: Any, X: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
        """Ask about `X`, which are the rows of these numbers, perhaps changed."""
        if self.unit == "prediction":
            return self.of_predicted(np.asarray(estimator.predict(X)), rows)
        if hasattr(estimator, "predict_proba"):
            found = estimator.predict_proba(X)
            if isinstance(found, list):
                raise ValueError(
                    f"{type(estimator).__name__} returns a list of probabilities, of "
                    "several classifiers in one; explain each by itself."
                )
            return self.of_predicted(np.asarray(found), rows)
        scores = np.asarray(estimator.decision_function(X), dtype="float64")
        assert self.codes is not None
        if scores.ndim == 1:
            return np.where(self.codes[rows] == 1, scores, -scores)
        return scores[np.arange(len(scores)), self.codes[rows]]

    def of_predicted(self, found: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """From probabilities or predictions of some rows, shape (m,).

        Parameters
        ----------
        found : ndarray of shape (m,) or (m, k)
            What the estimator says of them.
        rows : ndarray of shape (m,)
            Which rows they are.
        """
        found = found.astype("float64", copy=False)
        if self.codes is None:
            return found
        place = np.arange(len(found)), self.codes[rows]
        own = found[place]
        if self.unit != "log_odds":
            return own
        # Those of all others, which one less it would round away.
        others = found.sum(axis=1, where=_but(place, found.shape))
        if not self.excludes:
            others = 1 - own
        return np.log(np.maximum(own, _LEAST)) - np.log(np.maximum(others, _LEAST))

    @property
    def targets(self) -> np.ndarray | None:
        """The class, label or target that is explained of each row."""
        if self.codes is None or self.classes is None:
            return None
        return self.classes[self.codes]


def _has_numbers(estimator: Any, unit: str) -> bool:
    """Whether a classifier says how sure it is, in some unit."""
    scores = unit == "log_odds" and hasattr(estimator, "decision_function")
    return scores or hasattr(estimator, "predict_proba")


def _codes_of(
    estimator: Any, X: pd.DataFrame, target: Any, classes: np.ndarray
) -> np.ndarray:
    """Position of the class that is explained of each row."""
    if target is not None:
        [at] = np.nonzero(classes == target)
        if not len(at):
            raise ValueError(
                f"target={target!r} is none of the classes {classes.tolist()}."
            )
        return np.full(len(X), at[0])
    if len(classes) == 2:
        return np.ones(len(X), dtype="int64")
    return np.searchsorted(classes, estimator.predict(X))


def _but(place: tuple[np.ndarray, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """A mask that is False in one place of each row."""
    mask = np.ones(shape, dtype=bool)
    mask[place] = False
    return mask
