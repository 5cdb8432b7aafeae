"""Read the arguments of metrics: one number and one weight per row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.exceptions import UndefinedMetricWarning

from sklearn_seqcrm._durations import as_floats
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._treatments import label_array

_LABELS_HINT = (
    "For labels, name the one that counts: y_true == 'yes', or pos_label='yes' where "
    "a metric has that"
)

# Common labels of two classes. In a few rows, they may well be amounts.
_PAIRS_OF_LABELS, _FEWEST_LABELS = ([1, 2], [-1, 1]), 20


class ScoredRows(NamedTuple):
    """Targets, scores and weights of the rows with a weight above 0."""

    y: np.ndarray  # (n,): amounts, counts, or 1 and 0
    score: np.ndarray  # (n,): predictions, or any score that orders the rows
    # (n,): weights divided by ``2**exponent``, so that they sum to at most 1. A
    # weighted sum of numbers is then no larger than the largest of them, and cannot
    # overflow.
    weight: np.ndarray
    exponent: int  # chosen by the largest weight and the number of rows


def read_rows(
    y_true: Any,
    y_score: Any,
    sample_weight: Any,
    pos_label: Any = None,
    score_name: str = "y_pred",
) -> ScoredRows:
    """Read the arguments of a metric, and leave out the rows without weight.

    `pos_label` is the label that counts as 1, and must occur unless all rows have one
    other label; None if targets are numeric. `score_name` is how an error names the
    scores.
    """
    y = read_targets(y_true, pos_label)
    score = numbers(y_score, score_name)
    check_length(len(score), len(y), score_name)
    kept, weight, exponent = read_weights(sample_weight, len(y))
    return ScoredRows(y[kept], score[kept], weight, exponent)


def read_targets(y_true: Any, pos_label: Any) -> np.ndarray:
    """Return targets as finite floats, (n,); 1 for a given label, 0 for others.

    Warns if numeric targets look like labels of two classes.
    """
    if pos_label is not None:
        y_true = _is_label(pd.Series(flat(y_true, "y_true")), pos_label)
    y = numbers(y_true, "y_true")
    distinct = np.unique(y).tolist()
    if distinct in _PAIRS_OF_LABELS and len(y) >= _FEWEST_LABELS:
        low, high = distinct
        warn_user(
            f"y_true has only the values {low:g} and {high:g}, which count as amounts; "
            f"if they are labels, pass y_true == {high:g}."
        )
    return y


def read_weights(sample_weight: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return positions, weights and the exponent of the n rows with a weight above 0.

    Weights are scaled as in `ScoredRows`. A row of weight 0 has no influence, not even
    on ties or on the range of scores.
    """
    weight = np.ones(n_rows)
    if sample_weight is not None:
        weight = numbers(sample_weight, "sample_weight")
    check_length(len(weight), n_rows, "sample_weight")
    n_negative = int((weight < 0).sum())
    if n_negative:
        raise ValueError(f"sample_weight has {n_negative} negative values.")
    kept = np.flatnonzero(weight)
    if not len(kept):
        what = "has no row with a weight above 0" if n_rows else "has no row"
        raise ValueError(f"y_true {what}, so that there is nothing to measure.")
    return kept, *_over_power_of_2(weight[kept])


def _over_power_of_2(weight: np.ndarray) -> tuple[np.ndarray, int]:
    """Scale weights to sum to at most 1, without rounding; return the exponent."""
    # max < 2**a and n < 2**b, so that sum(weight) <= max * n < 2**(a + b)
    most, count = float(weight.max()), float(len(weight))
    exponent = int(np.frexp(most)[1]) + int(np.frexp(count)[1])
    return np.ldexp(weight, -exponent), exponent


def _is_label(labels: pd.Series, pos_label: Any) -> pd.Series:
    """Return whether each label is the one that counts, which must occur."""
    n_missing = int(labels.isna().sum())
    if n_missing:
        raise ValueError(
            f"y_true has {n_missing} missing labels among {len(labels)}; leave those "
            "rows out."
        )
    # As in scikit-learn: without the label at all, all rows may be of the other class.
    is_label = labels == pos_label
    if not is_label.any() and labels.nunique() > 1:
        raise ValueError(
            f"pos_label={pos_label!r} is none of the labels in y_true, such as "
            f"{labels.unique()[:3].tolist()}."
        )
    return is_label


def numbers(values: Any, name: str) -> np.ndarray:
    """Return one finite number per row, (n,); durations are read as days.

    `name` is how an error names the values.
    """
    found, _ = as_floats(flat(values, name), name, text_hint=_LABELS_HINT)
    n_bad = int((~np.isfinite(found)).sum())
    if n_bad:
        raise ValueError(
            f"{name} has {n_bad} missing or infinite values among {len(found)}; leave "
            "those rows out, or replace the values."
        )
    return found


def check_length(n: int, n_rows: int, name: str, of_rows: str = "y_true") -> None:
    """Raise a ValueError if there is not one value for each row."""
    if n != n_rows:
        raise ValueError(
            f"{name} has {n} rows, but {of_rows} has {n_rows}; there must be one value "
            "for each row."
        )


def customer_codes(
    customers: Any, n_rows: int, kept: np.ndarray | None = None
) -> np.ndarray:
    """Return numbers of the customers from 0 on: of the rows at `kept`, or of all.

    Without `customers`, each of the `n_rows` rows is of another one.
    """
    codes = np.arange(n_rows)
    if customers is not None:
        column = pd.Series(flat(label_array(customers), "customers"))
        check_length(len(column), n_rows, "customers")
        codes, _ = pd.factorize(column)
        n_missing = int((codes < 0).sum())
        if n_missing:
            raise ValueError(
                f"customers has {n_missing} missing values among {n_rows}; leave those "
                "rows out."
            )
    return codes if kept is None else np.unique(codes[kept], return_inverse=True)[1]


def has_positive_total(rows: ScoredRows) -> bool:
    """Return whether the total of targets is above 0; warn if it is not."""
    if rows.weight @ rows.y > 0:
        return True
    warn_undefined("The total of y_true is not above 0, and has no shares")
    return False


def flat(values: Any, name: str) -> Any:
    """Return values as a Series or an array of one dimension."""
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True)  # a Series, as arrays lose nullable types
    array = np.asarray(values)
    if fields := array.dtype.names:  # such as the event and the time of survival
        raise TypeError(
            f"{name} is a structured array of the fields {list(fields)}, and must have "
            f"one value for each row; choose a field, such as {name}[{fields[0]!r}]."
        )
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} must have one value for each row; got the shape {array.shape}. Of "
            "the probabilities of two classes, take those of the second: [:, 1]."
        )
    return array


def warn_undefined(what: str) -> None:
    """Warn that a metric is NaN, with the category that scikit-learn uses."""
    warn_user(f"{what}; the result is NaN.", UndefinedMetricWarning)
