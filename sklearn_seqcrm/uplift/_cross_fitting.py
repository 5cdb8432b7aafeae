"""Models whose predictions for a row come from other customers only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from sklearn_seqcrm._columns import (
    connected_note,
    n_history_columns,
    refuse_few_customers,
)
from sklearn_seqcrm._sklearn_compat import safe_indexing, split_by

# Groups of customers for a splitter whose parts have customers in common, such as
# CutoffSplit: each group is predicted by models of the others.
_N_GROUPS = 3
# What to do if a shop connects all customers.
_WITHOUT_FOLDS = ", or learner='s' or 't', which have no folds"


class UpliftRows(NamedTuple):
    """Rows with outcomes, treatments, customers and weights."""

    X: Any  # n rows
    # (n,): outcomes for estimators and splitters, with the attrs that the user's have.
    y: Any
    # (n,), float64: numbers, or 1 for the second class and 0 for the first.
    outcome: np.ndarray
    arms: np.ndarray  # (n,), int64: treatments; 0 is control
    customers: np.ndarray  # (n,), int64: number of the customer
    weight: np.ndarray  # (n,), float64
    # (n, n_arms): given probabilities of the treatments; no columns if none are given.
    propensities: np.ndarray
    place: np.ndarray  # (n,), int64: position among the rows that the user gave

    def take(self, rows: np.ndarray) -> UpliftRows:
        """Return some of the rows."""
        return UpliftRows(*(safe_indexing(one, rows) for one in self))


Fold = tuple[np.ndarray, np.ndarray]


def customer_folds(
    rows: UpliftRows, cv: Any, n_arms: int, rng: np.random.RandomState
) -> list[Fold]:
    """Make folds, of positions to fit on and to predict, without common customers.

    `cv` is a number of folds, or the splits of `read_splits`. Splits whose parts have
    customers in common become three folds each: a third of the customers is predicted
    by models of the others. Raises a ValueError if there are fewer customers than
    folds, or an arm has no rows to fit on in a fold, or none that a fold predicts.
    """
    if isinstance(cv, Integral):
        number = _numbered(rows, int(cv), rng)
        splits = [(number != i, number == i) for i in range(int(cv))]
        folds = [(np.flatnonzero(a), np.flatnonzero(b)) for a, b in splits]
    else:
        folds = _of_splits(rows, cv, rng)
    for i, (train, _) in enumerate(folds, start=1):
        counts = np.bincount(rows.arms[train], minlength=n_arms)
        if not counts.all():
            raise ValueError(
                f"Fold {i} of the cross-fitting has no training row of "
                f"{(counts == 0).sum()} of {n_arms} treatments; their numbers of rows "
                f"are {np.bincount(rows.arms).tolist()}, control first. Use fewer "
                "folds, or leave out rare treatments."
            )
    predicted = np.unique(np.concatenate([test for _, test in folds]))
    counts = np.bincount(rows.arms[predicted], minlength=n_arms)
    if not counts.all():
        raise ValueError(
            f"The folds of cv predict no row of {(counts == 0).sum()} of {n_arms} "
            f"treatments; the numbers of predicted rows are {counts.tolist()}, control "
            "first. Effects are learned from predicted rows: use folds that predict "
            "rows of all treatments, or leave out rare treatments."
        )
    return folds


def _numbered(rows: UpliftRows, n_folds: int, rng: np.random.RandomState) -> np.ndarray:
    """Return the fold of each row, shape (n,); customers are stratified.

    A stratum is an arm and, of classes, an outcome. A customer counts to the rarest
    stratum among their rows, and those of a stratum are dealt out in turn.
    """
    n_columns = n_history_columns(rows.X)
    way_out = "use a smaller cv or more rows" + _WITHOUT_FOLDS * (n_columns > 1)
    refuse_few_customers(rows.customers, n_folds, n_columns, way_out)
    _, codes = np.unique(rows.customers, return_inverse=True)
    n_customers = codes.max(initial=-1) + 1
    found, label = np.unique(rows.outcome, return_inverse=True)
    stratum = rows.arms * 2 + label if len(found) == 2 else rows.arms
    counts = np.bincount(stratum)
    # Rarest stratum first, equally rare ones by number, so that rows are in any order.
    rank = np.lexsort((np.arange(len(counts)), counts)).argsort()
    of_customer = np.full(n_customers, len(counts))
    np.minimum.at(of_customer, codes, rank[stratum])
    shuffled = rng.permutation(n_customers)
    order = shuffled[np.argsort(of_customer[shuffled], kind="stable")]
    fold = np.empty(n_customers, dtype="int64")
    fold[order] = np.arange(n_customers) % n_folds
    return fold[codes]


def read_splits(cv: Any, rows: UpliftRows) -> list[Fold]:
    """Return the folds of a splitter, or of an iterable of splits, as positions.

    They are those of all rows of the user, also of rows without weight, once for all
    samples of customers: splits may be given by position, as in `PredefinedSplit`.
    """
    parts = cv
    if hasattr(cv, "split"):
        parts = split_by(cv, rows.X, rows.y, rows.customers)
    everyone = np.arange(len(rows.outcome))
    return [
        (everyone[np.asarray(train)], everyone[np.asarray(test)])  # masks too
        for train, test in parts
    ]


def _of_splits(
    rows: UpliftRows, splits: Sequence[Fold], rng: np.random.RandomState
) -> list[Fold]:
    """Return the folds of some rows, divided so that no customer is in both parts."""
    group = rng.randint(_N_GROUPS, size=rows.customers.max() + 1)[rows.customers]
    folds = []
    for parts in splits:
        train, test = (np.flatnonzero(np.isin(rows.place, part)) for part in parts)
        if not np.intersect1d(rows.customers[train], rows.customers[test]).size:
            folds.append((train, test))
            continue
        for i in range(_N_GROUPS):
            folds.append((train[group[train] != i], test[group[test] == i]))
    folds = [(train, test) for train, test in folds if len(train) and len(test)]
    if not folds:
        n_columns = n_history_columns(rows.X)
        raise ValueError(
            f"cv makes {len(splits)} folds, and none has rows of different customers "
            f"to fit on and to predict{connected_note(n_columns)}. Use an int, for "
            f"folds of customers{_WITHOUT_FOLDS * (n_columns > 1)}."
        )
    return folds


def customer_groups(rows: UpliftRows, folds: Sequence[Fold]) -> np.ndarray:
    """Divide customers into at most 3 groups that follow the folds.

    The group of each row, (n,), is the first fold which predicts a row of the customer,
    modulo 3. Customers that no fold predicts are in the last group.
    """
    _, codes = np.unique(rows.customers, return_inverse=True)
    first = np.full(codes.max(initial=-1) + 1, len(folds))
    for number, (_, test) in reversed(list(enumerate(folds))):
        first[codes[test]] = number
    found, place = np.unique(first, return_inverse=True)
    # A splitter whose parts have customers in common has three folds for each of its.
    return place[codes] % min(_N_GROUPS, len(found))


class Nuisance(NamedTuple):
    """A model to be fitted on some arms, whose predictions another model needs."""

    fit: Callable[[UpliftRows], Any]  # takes `UpliftRows` and returns a fitted model
    # Takes a fitted model and X, and returns an array of n rows.
    predict: Callable[[Any, Any], np.ndarray]
    # The arms whose rows it is fitted on; empty for all rows.
    arms: tuple[int, ...] = ()

    def fit_on(self, rows: UpliftRows) -> Any:
        """Return the model of the rows of its arms."""
        if self.arms:
            rows = rows.take(np.flatnonzero(np.isin(rows.arms, self.arms)))
        return self.fit(rows)


def cross_fit(
    nuisances: Sequence[Nuisance],
    rows: UpliftRows,
    folds: Sequence[Fold],
    n_jobs: int | None,
) -> list[tuple[list[Any], np.ndarray]]:
    """Fit models of each fold, and predict its other rows.

    Returns for each nuisance the fitted models of all folds, and the predictions of the
    rows: NaN for rows that no fold predicts, the mean over folds of those that several
    predict.
    """
    n = len(rows.outcome)
    jobs = [
        delayed(_fit_and_predict)(one, rows.take(train), safe_indexing(rows.X, test))
        for one in nuisances
        for train, test in folds
    ]
    results = Parallel(n_jobs=n_jobs)(jobs)
    counts = np.bincount(np.concatenate([test for _, test in folds]), minlength=n)
    found = []
    for i in range(len(nuisances)):
        own = results[i * len(folds) : (i + 1) * len(folds)]
        total = np.zeros((n, *own[0][1].shape[1:]))
        for (_, test), (_, predicted) in zip(folds, own, strict=True):
            total[test] += predicted
        with np.errstate(invalid="ignore"):  # rows that no fold predicts
            mean = (total.T / np.where(counts, counts, np.nan)).T
        found.append(([model for model, _ in own], mean))
    return found


def _fit_and_predict(
    nuisance: Nuisance, rows: UpliftRows, X: Any
) -> tuple[Any, np.ndarray]:
    model = nuisance.fit_on(rows)
    return model, nuisance.predict(model, X)
