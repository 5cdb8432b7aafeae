"""Find histories that show the treatment that is being decided.

The log may have an event of the contact itself. A row that sees it, because its history
includes events at its cutoff or its cutoff is too late, shows a model the treatment: a
propensity is then 0 or 1, and no row of the other arm is comparable.

Encoded histories have no levels to compare, but times: of them, only an event at the
cutoff is found, and of padded tensors nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import comb

from sklearn_seqcrm._columns._table import Table, has_histories, holds_histories
from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._store import RawLog
from sklearn_seqcrm.events import HistoryArray

# Most probable chance, if treatments were independent of histories, that all customers
# with a level are in one arm. Logs have up to thousands of levels.
_BY_CHANCE = 1e-6


def refuse_shown_treatments(
    X: Any, arms: np.ndarray, labels: np.ndarray, customers: np.ndarray
) -> None:
    """Raise a ValueError if columns of X or histories show the treatments of rows.

    `arms` (n,) are the positions of the treatments in `labels` (n_arms,), and
    `customers` (n,) the numbers of the customers. Only the columns of a DataFrame are
    compared.
    """
    _refuse_columns(X, arms, labels, customers)
    _refuse_last_events(X, arms, labels, customers)


def _refuse_columns(
    X: Any, arms: np.ndarray, labels: np.ndarray, customers: np.ndarray
) -> None:
    """Raise a ValueError if a value of a column of X marks the rows of an arm.

    Such columns are the treatment itself in any coding, a discount that is 0 without a
    contact, or a date of the contact, which is missing without one. The value is that
    of all rows of an arm and of no others, and chance does not explain it: ``n_levels /
    comb(n, n_of_arm) < 1e-6`` for numbers of rows or, if each customer is in one arm
    only, of customers.
    """
    n_of_arm = np.bincount(arms, minlength=len(labels))
    if not isinstance(X, pd.DataFrame) or np.count_nonzero(n_of_arm) < 2:
        return
    n_sets = _n_possible_arms(arms, customers, len(labels))
    firsts = [np.flatnonzero(arms == arm)[:100] for arm in np.flatnonzero(n_of_arm)]
    for place, name in enumerate(X.columns):
        column = X.iloc[:, place]
        if holds_histories(column):
            continue
        try:
            # Most columns differ within the first rows of each arm: they are not read.
            if all(column.iloc[rows].nunique(dropna=False) > 1 for rows in firsts):
                continue
            levels, distinct = pd.factorize(column, use_na_sentinel=False)
        except TypeError:  # lists have no levels
            continue
        pairs, n_rows = np.unique(levels * len(labels) + arms, return_counts=True)
        level, arm = np.divmod(pairs, len(labels))
        is_arm = (n_rows == np.bincount(levels)[level]) & (n_rows == n_of_arm[arm])
        shown = np.flatnonzero(is_arm & (len(distinct) < _BY_CHANCE * n_sets[arm]))
        if len(shown):
            value = np.asarray(distinct, dtype=object)[level[shown[0]]]
            label = labels.tolist()[arm[shown[0]]]
            raise ValueError(
                f"The column {name!r} of X shows the treatment: all rows with the "
                f"treatment {label!r}, and no others, have the value {value!r}. Drop "
                "it from X; the treatment is an argument of its own."
            )


def _n_possible_arms(
    arms: np.ndarray, customers: np.ndarray, n_arms: int
) -> np.ndarray:
    """Return the number of sets of rows that each arm could have been, (n_arms,).

    Rows of a customer who stays in one arm often share the values of columns as well.
    """
    _, first, number = np.unique(customers, return_index=True, return_inverse=True)
    units = arms[first] if (arms[first][number] == arms).all() else arms
    return comb(len(units), np.bincount(units, minlength=n_arms))


def _refuse_last_events(
    X: Any, arms: np.ndarray, labels: np.ndarray, customers: np.ndarray
) -> None:
    """Raise a ValueError if the last events of histories show the treatment.

    They do if all rows whose last moment has some level of a field (of raw histories
    only), or that have an event at their cutoff, are in one arm, and chance does not
    explain it: ``share ** n_customers < 1e-6`` with the share of that arm among all
    rows. Histories are raw or encoded.
    """
    if not has_histories(X):
        return
    shares = np.bincount(arms, minlength=len(labels)) / len(arms)
    for name, array in Table.of(X).histories.items():
        for what, rows, levels in _last_facts(array):
            found = pd.DataFrame(
                {"level": levels, "arm": arms[rows], "customer": customers[rows]}
            ).groupby("level", observed=True, dropna=False)
            n_customers = found["customer"].nunique()
            is_pure = found["arm"].nunique() == 1
            arm = found["arm"].first()
            chance = pd.Series(shares[arm], arm.index) ** n_customers
            is_shown = is_pure & (chance < _BY_CHANCE)
            if is_shown.any():
                # If levels show several arms, name a treatment and not control.
                order = np.lexsort((chance, -arm, ~is_shown))
                level = chance.index[order[0]]
                text = what.format(level=level, name=name)
                _refuse(text, n_customers.loc[level], labels.tolist()[arm.loc[level]])


def _refuse(what: str, n_customers: int, arm: Any) -> None:
    raise ValueError(
        f"All {n_customers} customers whose {what} "
        f"have the treatment {arm!r}, so that histories show the treatment, and no row "
        "with another one is comparable. If it is the event of the contact, set the "
        "cutoff before it, with allow_exact_matches=False in EventLog.attach; if the "
        "event decides who is treated, leave out these rows."
    )


def _last_facts(array: HistoryArray) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Yield facts about the last moments of histories: text, rows and levels."""
    log, rows = array.log, array.rows
    filled = np.flatnonzero(rows.stop > rows.start)
    # Rows of one customer at one time share views: positions of the last event suffice.
    times = log.timeline.times[rows.stop[filled] - 1]
    at_cutoff = np.zeros(len(array), dtype=bool)
    at_cutoff[filled] = times == rows.cutoff[filled]
    if at_cutoff.any():
        text = "history {name!r} has an event at the cutoff ({level})"
        yield text, np.arange(len(array)), at_cutoff
    if isinstance(log, RawLog) and len(filled):  # of encoded ones, levels have codes
        first = log.timeline.positions(rows.codes[filled], times)
        yield from _last_levels(array, filled, np.maximum(first, rows.start[filled]))


def _last_levels(
    array: HistoryArray, filled: np.ndarray, first: np.ndarray
) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Yield the levels of each field from the first events of last moments on."""
    index, offsets = ranges(first, array.rows.stop[filled])
    row = np.repeat(filled, np.diff(offsets))
    aware = array.log.timeline.clock.aware
    for field in array.log.fields:
        values = pd.Series(array.log.column(field).to_pandas(index, aware=aware))
        try:
            levels, distinct = pd.factorize(values)
        except TypeError:  # vectors have no levels
            continue
        # Factorized: groupby of categories would list those without rows.
        text = f"history {{name!r}} ends with {field}={{level!r}}"
        shown = np.asarray(distinct, dtype=object)
        yield text, row[levels >= 0], shown[levels[levels >= 0]]
