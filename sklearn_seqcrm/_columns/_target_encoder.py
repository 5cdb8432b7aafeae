"""Target encoding of levels, cross-fitted by customers."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklearn_seqcrm._columns._customers import customers_of, ranked_customers
from sklearn_seqcrm._columns._forward_split import (
    ForwardSplit,
    cutoffs_of,
    split_forward,
)
from sklearn_seqcrm._columns._horizons import NoForwardSplitError, known_horizon
from sklearn_seqcrm._columns._statics import coded_levels, text_of
from sklearn_seqcrm._columns._survival_split import split_survival
from sklearn_seqcrm._columns._survival_targets import (
    SurvivalTargets,
    censor,
    read_survival_targets,
)
from sklearn_seqcrm._columns._table import Table
from sklearn_seqcrm._columns._targets import read_labels, refuse_not_finite
from sklearn_seqcrm._durations import as_quantities
from sklearn_seqcrm._store import unique_names
from sklearn_seqcrm.events import HistoryDtype

_N_FOLDS = 5


class CustomerTargetEncoder(TransformerMixin, BaseEstimator):
    """Replace each level by the shrunken mean of the target of its customers.

    Rows of a customer are alike, so that an encoding of a row by targets of the same
    customer reveals its own: `fit_transform` encodes the rows of a fifth of the
    customers by the means of the others. scikit-learn's `TargetEncoder` crosses rows.
    If there are several history columns, rows that are connected through any of them
    count as one customer. If all rows are, every level has the mean of all rows.

    Parameters
    ----------
    task : {"classification", "regression", "survival"}, default="regression"
        What the target is. Classes: shares of each class, of two only the second one.
        Numbers and several labels: the mean of each column. Survival: the means of the
        event indicator and of the observed time, which ends at the censoring of a row;
        both are needed for the rate, events per observed time.
    horizon : Timedelta, str, number or None, default=None
        Length of time from a cutoff until its label is known. None: as in the ``attrs``
        of `y`.
    validation_fraction : float or "auto", default="auto"
        Least share of the rows that the estimator sets aside for validation.

    Attributes
    ----------
    categories_ : list of ndarray of shape (n_levels,), object
        Levels of each column as text; None is a missing one.
    encodings_ : list of ndarray of shape (n_levels, n_targets)
        Encoding of each level.
    prior_ : ndarray of shape (n_targets,)
        Mean over customers, the encoding of levels that were not seen in `fit`.
    feature_names_in_ : ndarray of shape (n_histories + n_columns,), object
        Names of the columns: histories first.

    Notes
    -----
    With the mean ``y[l, c]`` of the rows of customer ``c`` with level ``l``, the
    encoding of a level with ``n[l]`` customers is the empirical Bayes estimate [1]_ ::

        (sum over c of y[l, c] + m * prior) / (n[l] + m),      m = within / between

    of the variance within levels and the variance between them, by the method of
    moments. Customers count once per level, however many rows they have.

    References
    ----------
    .. [1] Micci-Barreca, D. (2001). A preprocessing scheme for high-cardinality
       categorical attributes in classification and prediction problems. SIGKDD
       Explorations 3, 27-32. https://doi.org/10.1145/507533.507538
    """

    def __init__(
        self,
        task: str = "regression",
        horizon: Any = None,
        validation_fraction: Any = "auto",
    ) -> None:
        self.task = task
        self.horizon = horizon
        self.validation_fraction = validation_fraction

    def fit(self, X: pd.DataFrame, y: Any) -> Self:
        """Learn the encoding of each level.

        Parameters
        ----------
        X : DataFrame of shape (n, n_histories + n_columns)
            History columns, and columns of levels as text.
        y : array-like of n rows
            Targets.

        Returns
        -------
        CustomerTargetEncoder
            The fitted encoder.
        """
        self._learn(X, self._read(X, y)[0], customers_of(X))
        return self

    def _learn(
        self, X: pd.DataFrame, targets: np.ndarray, customers: np.ndarray
    ) -> None:
        """Set the attributes from targets of shape (n, n_targets)."""
        self.feature_names_in_ = np.array(X.columns, dtype=object)
        self.categories_: list[np.ndarray] = []
        self.encodings_: list[np.ndarray] = []
        self.prior_ = _by_customer(customers, targets)[1].mean(axis=0)
        for _, column in _levels_of(X).items():
            codes, levels = _codes_of(column)
            self.categories_.append(levels)
            found = level_means(codes, len(levels), customers, targets, self.prior_)
            self.encodings_.append(found)

    def fit_transform(self, X: pd.DataFrame, y: Any = None) -> pd.DataFrame:
        """Learn the encodings, and encode each customer by those of others.

        Parameters
        ----------
        X : DataFrame of shape (n, n_histories + n_columns)
            History columns, and columns of levels as text.
        y : array-like of n rows
            Targets.

        Returns
        -------
        DataFrame of shape (n, n_columns * n_targets)
            Encodings.
        """
        (targets, survival), customers = self._read(X, y), customers_of(X)
        self._learn(X, targets, customers)
        split = self._split_forward(X, y, customers, survival)
        blocks = _blocks(_folds(X, customers), targets, split)
        columns = [
            self._cross_fitted(column, customers, blocks)
            for _, column in _levels_of(X).items()
        ]
        return self._table(columns, X.index)

    def _cross_fitted(
        self,
        column: pd.Series,
        customers: np.ndarray,
        blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    ) -> np.ndarray:
        """Encode the rows of each block by others, shape (n, n_targets)."""
        codes, levels = _codes_of(column)
        encoded = np.empty((len(codes), len(self.prior_)))
        for own, others, known in blocks:
            if not others.any():  # one customer
                encoded[own] = self.prior_
                continue
            who, targets = customers[others], known[others]
            prior = _by_customer(who, targets)[1].mean(axis=0)
            means = level_means(codes[others], len(levels), who, targets, prior)
            encoded[own] = means[codes[own]]
        return encoded

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Encode levels by the means of all training customers.

        Parameters
        ----------
        X : DataFrame of shape (n, n_histories + n_columns)
            History columns, and columns of levels as text.

        Returns
        -------
        DataFrame of shape (n, n_columns * n_targets)
            Encodings.
        """
        check_is_fitted(self)
        return self._table(self.encode(_levels_of(X)), X.index)

    def encode(self, levels: pd.DataFrame) -> list[np.ndarray]:
        """Return the encodings of columns of levels, each (n, n_targets)."""
        return [
            self._encode_column(levels.iloc[:, i], i) for i in range(levels.shape[1])
        ]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the encoded columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Ignored; the names that `fit` saw are used.

        Returns
        -------
        ndarray of shape (n_columns * n_targets,), object
            Names of the columns; numbered if there are several targets.
        """
        check_is_fitted(self)
        names = self.feature_names_in_[-len(self.categories_) :].tolist()
        n_targets = len(self.prior_)
        if n_targets > 1:
            names = [f"{name}_{i}" for name in names for i in range(n_targets)]
        return np.array(unique_names(names), dtype=object)

    def _split_forward(
        self,
        X: pd.DataFrame,
        y: Any,
        customers: np.ndarray,
        survival: SurvivalTargets | None,
    ) -> ForwardSplit | None:
        """Return the split that the estimator makes, None if it makes none."""
        cutoffs = [cutoffs_of(one) for one in Table.of(X).histories.values()]
        try:
            if survival is not None:
                return split_survival(
                    cutoffs,
                    customers,
                    y,
                    survival,
                    self.horizon,
                    self.validation_fraction,
                )
            lengths = known_horizon(y, self.horizon)
            return split_forward(cutoffs, customers, lengths, self.validation_fraction)
        except (NoForwardSplitError, TypeError, ValueError):
            # The estimator raises an error for a wrong horizon, or does not split.
            return None

    def _encode_column(self, column: pd.Series, i: int) -> np.ndarray:
        codes, texts = coded_levels(column)
        place = {level: k for k, level in enumerate(self.categories_[i].tolist())}
        table = np.vstack([self.encodings_[i], self.prior_])
        known = [place.get(text, len(place)) for text in [*texts, None]]
        return table[np.array(known)[codes]]  # a missing level is the last one, -1

    def _table(self, columns: list[np.ndarray], index: pd.Index) -> pd.DataFrame:
        names = self.get_feature_names_out()
        return pd.DataFrame(np.hstack(columns), index=index, columns=names)

    def _read(self, X: Any, y: Any) -> tuple[np.ndarray, SurvivalTargets | None]:
        """Return the targets as columns of numbers, shape (n, n_targets).

        The second item holds events and times, if that is what the targets are.
        """
        if y is None:
            raise ValueError("Target encoding needs y in fit.")
        check_consistent_length(X, y)
        if self.task == "survival":
            found = read_survival_targets(y)
            columns = np.column_stack([found.kind > 0, found.time])
            return columns.astype("float64"), found
        is_classes = self.task == "classification"
        if is_classes and issparse(y):  # several labels
            y = y.toarray()
        values = np.asarray(y) if is_classes else as_quantities(y)
        if is_classes and values.shape[1:] in ((), (1,)):
            labels = read_labels(values.ravel())
            classes, codes = np.unique(labels, return_inverse=True)
            shares = np.eye(len(classes))[codes]
            return shares[:, -1:] if len(classes) <= 2 else shares, None
        refuse_not_finite(values)
        return values.astype("float64").reshape(len(values), -1), None


def _levels_of(X: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that hold no histories."""
    return X.loc[:, [not isinstance(dtype, HistoryDtype) for dtype in X.dtypes]]


def _folds(X: pd.DataFrame, customers: np.ndarray) -> np.ndarray:
    """Return the fold of each row for numbers from `customers_of`, shape (n,).

    Folds depend on the ids of the customers, not on the order of the rows. They are
    drawn: of levels that were assigned to customers in turn, each would lie in one
    fold if that was the number modulo five, and other folds would have none of it.
    """
    [history, *_] = Table.of(X).histories.values()
    by_id = pd.Series(ranked_customers(history)).groupby(customers).transform("min")
    distinct, place = np.unique(by_id, return_inverse=True)
    return np.random.default_rng(0).permutation(len(distinct))[place] % _N_FOLDS


def _blocks(
    fold: np.ndarray, targets: np.ndarray, split: ForwardSplit | None
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return masks of rows, each with one of the rows whose labels encode them.

    The third item holds the labels of all rows; for validation rows, as they were known
    at the first validation cutoff.
    """
    is_late, is_known = np.zeros((2, len(fold)), dtype=bool)
    known = targets
    if split is not None:
        is_late[split.valid] = True
        is_known[split.train] = True
        if split.observed is not None:
            came, time = targets.T
            known = np.column_stack(censor(came, time, split.observed))
    blocks = []
    for number in np.unique(fold):
        own, others = fold == number, fold != number
        blocks.append((own & ~is_late, others, targets))
        if (own & is_late).any():
            blocks.append((own & is_late, others & is_known, known))
    return blocks


def _codes_of(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return codes of levels, and the levels as text; None if missing is one."""
    codes, values = pd.factorize(column.astype(object), use_na_sentinel=False)
    levels = [None if pd.isna(value) else text_of(value) for value in values]
    return codes, np.array(levels, dtype=object)


def _by_customer(
    customers: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct customers, and the means of their targets, (n_distinct, k)."""
    distinct, place = np.unique(customers, return_inverse=True)
    sums = [np.bincount(place, one) for one in targets.T]
    return distinct, (np.array(sums) / np.bincount(place)).T


def level_means(
    codes: np.ndarray,
    n_levels: int,
    customers: np.ndarray,
    targets: np.ndarray,
    prior: np.ndarray,
) -> np.ndarray:
    """Return the shrunken means of levels, (n_levels, n_targets).

    `codes` and `customers` (n,) are the level and the customer of each row, and
    `targets` (n, n_targets) its targets. Levels without rows get the `prior`
    (n_targets,); see `CustomerTargetEncoder`.
    """
    pair, means = _by_customer(customers * n_levels + codes, targets)
    level = pair % n_levels
    count = np.bincount(level, minlength=n_levels).astype("float64")  # customers
    found = np.empty((n_levels, targets.shape[1]))
    for i, mean in enumerate(means.T):
        total = np.bincount(level, mean, n_levels)
        pseudo = _pseudo_count(mean, level, total, count)
        if np.isinf(pseudo):
            found[:, i] = prior[i]
        else:
            found[:, i] = (total + pseudo * prior[i]) / np.maximum(count + pseudo, 1e-9)
    found[count == 0] = prior
    return found


def _pseudo_count(
    mean: np.ndarray,
    level: np.ndarray,
    total: np.ndarray,
    count: np.ndarray,
) -> float:
    """Return the variance within levels over that between them, both unbiased.

    The sum of squares between levels has the expectation ``(L - 1) * within + (N - sum
    of n[l]**2 / N) * between`` with ``L`` levels and ``N`` customers in them.
    """
    used = count > 0
    n_levels, n = int(used.sum()), count.sum()
    if n <= n_levels or n_levels < 2:
        return np.inf  # no level has two customers, or there is one level
    of_level = total / np.maximum(count, 1)
    within = ((mean - of_level[level]) ** 2).sum() / (n - n_levels)
    squares = (count * (of_level - total.sum() / n) ** 2).sum()
    between = squares - (n_levels - 1) * within
    between /= n - (count**2).sum() / n
    return float(within / between) if between > 1e-12 * within else np.inf
