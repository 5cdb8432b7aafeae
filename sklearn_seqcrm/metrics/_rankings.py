"""How good lists of recommended things are, beside what each row bought."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm.metrics._hits import Hits
from sklearn_seqcrm.metrics._read import warn_undefined

_NAMES: dict[str, list[Any]] = {"row": [str], "value": [str], "rank": [str]}
_PLACES = Interval(Integral, 1, None, closed="left")


@validate_params(
    {"k": [_PLACES], "per_row": ["boolean"], **_NAMES},
    prefer_skip_nested_validation=True,
)
def recall_at_k(
    bought: Any,
    recommended: Any,
    k: int = 10,
    *,
    per_row: bool = False,
    row: str = "row",
    value: str = "value",
    rank: str = "rank",
) -> float | pd.Series:
    """Share of what was bought that is among the first k recommended.

    Parameters
    ----------
    bought : DataFrame or Series
        What each row bought: a line for each thing, with the columns `row` and `value`,
        or a Series of things whose index names the rows. Things bought twice count
        once.
    recommended : DataFrame
        A list for each row: a line for each thing, with the columns `row`, `value` and
        `rank`, in any order.
    k : int, default=10
        How many of each list count, 1 or more.
    per_row : bool, default=False
        Whether to return what each row has, and not the mean.
    row, value, rank : str, default="row", "value", "rank"
        Names of the columns. `rank` is lowest for the best; only the order of a row's
        ranks counts, so that they may begin at 0, or have gaps.

    Returns
    -------
    float or Series of shape (n_rows_that_bought,)
        Between 0 and 1; the mean of the rows that bought something is NaN if none did.

    Raises
    ------
    ValueError
        If a column is absent, a value is missing, a list has a thing or a rank twice,
        or no list is of a row that bought.
    TypeError
        If a table is none, ranks are no numbers, or one table has numbers where the
        other has text.

    Warns
    -----
    UndefinedMetricWarning
        If nothing was bought.

    See Also
    --------
    ndcg_at_k : Counts the places as well.
    hit_rate_at_k : Whether anything was right.
    mean_reciprocal_rank : How far down the first right one is.

    Notes
    -----
    ``|first k of the list and bought| / |bought|`` of each row. Who buys more than `k`
    things cannot reach 1.

    Rows without purchases have nothing to be found and are left out. Rows that bought,
    but have no list, count as 0: leave them out of `bought` if they were not asked
    about.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.metrics import recall_at_k
    >>> bought = pd.Series(["milk", "tea", "milk"], index=["ann", "ann", "bob"])
    >>> recommended = pd.DataFrame(
    ...     {
    ...         "row": ["ann", "ann", "bob", "bob"],
    ...         "rank": [1, 2, 1, 2],
    ...         "value": ["milk", "jam", "tea", "milk"],
    ...     }
    ... )
    >>> recall_at_k(bought, recommended, k=2)
    0.75
    >>> recall_at_k(bought, recommended, k=1, per_row=True)
    row
    ann    0.5
    bob    0.0
    Name: recall_at_k, dtype: float64
    """
    hits = Hits.of(bought, recommended, row, value, rank)
    found = hits.up_to(k).sums()
    return _result(found / hits.n_bought, hits, "recall_at_k", row, per_row)


@validate_params(
    {"k": [_PLACES], "per_row": ["boolean"], **_NAMES},
    prefer_skip_nested_validation=True,
)
def ndcg_at_k(
    bought: Any,
    recommended: Any,
    k: int = 10,
    *,
    per_row: bool = False,
    row: str = "row",
    value: str = "value",
    rank: str = "rank",
) -> float | pd.Series:
    """Gain of the first k recommended, which fades from place to place.

    Parameters
    ----------
    bought : DataFrame or Series
        What each row bought: a line for each thing, with the columns `row` and `value`,
        or a Series of things whose index names the rows. Things bought twice count
        once.
    recommended : DataFrame
        A list for each row: a line for each thing, with the columns `row`, `value` and
        `rank`, in any order.
    k : int, default=10
        How many of each list count, 1 or more.
    per_row : bool, default=False
        Whether to return what each row has, and not the mean.
    row, value, rank : str, default="row", "value", "rank"
        Names of the columns. `rank` is lowest for the best; only the order of a row's
        ranks counts, so that they may begin at 0, or have gaps.

    Returns
    -------
    float or Series of shape (n_rows_that_bought,)
        Between 0 and 1; the mean of the rows that bought something is NaN if none did.

    Raises
    ------
    ValueError
        If a column is absent, a value is missing, a list has a thing or a rank twice,
        or no list is of a row that bought.
    TypeError
        If a table is none, ranks are no numbers, or one table has numbers where the
        other has text.

    Warns
    -----
    UndefinedMetricWarning
        If nothing was bought.

    See Also
    --------
    recall_at_k : Counts all places alike.
    sklearn.metrics.ndcg_score : Of graded relevances, in a matrix of rows and things.

    Notes
    -----
    Each of the first `k` that was bought, at place ``p``, gains ``1 / log2(p + 1)``.
    The sum is divided by that of the best list, whose first ``min(k, |bought|)`` places
    are right [1]_.

    Rows without purchases are left out; rows that bought, but have no list, count as 0.

    References
    ----------
    .. [1] Järvelin, K. and Kekäläinen, J. (2002). Cumulated gain-based evaluation of IR
       techniques. ACM Transactions on Information Systems 20, 422-446.
       https://doi.org/10.1145/582415.582418

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.metrics import ndcg_at_k
    >>> bought = pd.Series(["milk", "tea", "milk"], index=["ann", "ann", "bob"])
    >>> recommended = pd.DataFrame(
    ...     {
    ...         "row": ["ann", "ann", "bob", "bob"],
    ...         "rank": [1, 2, 1, 2],
    ...         "value": ["milk", "jam", "tea", "milk"],
    ...     }
    ... )
    >>> round(ndcg_at_k(bought, recommended, k=2), 3)
    0.622
    """
    hits = Hits.of(bought, recommended, row, value, rank)
    near = hits.up_to(k)
    n_right = hits.n_bought.clip(max=k)
    best = np.cumsum(1 / np.log2(np.arange(2, n_right.max(initial=0) + 2)))
    gain = near.sums(1 / np.log2(near.place + 1)) / best[n_right - 1]
    return _result(gain, hits, "ndcg_at_k", row, per_row)


@validate_params(
    {"k": [_PLACES], "per_row": ["boolean"], **_NAMES},
    prefer_skip_nested_validation=True,
)
def hit_rate_at_k(
    bought: Any,
    recommended: Any,
    k: int = 10,
    *,
    per_row: bool = False,
    row: str = "row",
    value: str = "value",
    rank: str = "rank",
) -> float | pd.Series:
    """Share of the rows with something right among the first k recommended.

    Parameters
    ----------
    bought : DataFrame or Series
        What each row bought: a line for each thing, with the columns `row` and `value`,
        or a Series of things whose index names the rows. Things bought twice count
        once.
    recommended : DataFrame
        A list for each row: a line for each thing, with the columns `row`, `value` and
        `rank`, in any order.
    k : int, default=10
        How many of each list count, 1 or more.
    per_row : bool, default=False
        Whether to return what each row has, and not the mean.
    row, value, rank : str, default="row", "value", "rank"
        Names of the columns. `rank` is lowest for the best; only the order of a row's
        ranks counts, so that they may begin at 0, or have gaps.

    Returns
    -------
    float or Series of shape (n_rows_that_bought,)
        Between 0 and 1; the mean of the rows that bought something is NaN if none did.

    Raises
    ------
    ValueError
        If a column is absent, a value is missing, a list has a thing or a rank twice,
        or no list is of a row that bought.
    TypeError
        If a table is none, ranks are no numbers, or one table has numbers where the
        other has text.

    Warns
    -----
    UndefinedMetricWarning
        If nothing was bought.

    See Also
    --------
    recall_at_k : How much of it is right.

    Notes
    -----
    1 for a row that bought at least one of the first `k` things of its list, else 0.

    Rows without purchases are left out; rows that bought, but have no list, count as 0.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.metrics import hit_rate_at_k
    >>> bought = pd.Series(["milk", "tea", "milk"], index=["ann", "ann", "bob"])
    >>> recommended = pd.DataFrame(
    ...     {
    ...         "row": ["ann", "ann", "bob", "bob"],
    ...         "rank": [1, 2, 1, 2],
    ...         "value": ["milk", "jam", "tea", "milk"],
    ...     }
    ... )
    >>> hit_rate_at_k(bought, recommended, k=1)
    0.5
    """
    hits = Hits.of(bought, recommended, row, value, rank)
    found = hits.up_to(k).sums() > 0
    return _result(found.astype("float64"), hits, "hit_rate_at_k", row, per_row)


@validate_params(
    {"k": [_PLACES, None], "per_row": ["boolean"], **_NAMES},
    prefer_skip_nested_validation=True,
)
def mean_reciprocal_rank(
    bought: Any,
    recommended: Any,
    k: int | None = None,
    *,
    per_row: bool = False,
    row: str = "row",
    value: str = "value",
    rank: str = "rank",
) -> float | pd.Series:
    """How far down the first right thing is, as the mean of 1 / place.

    Parameters
    ----------
    bought : DataFrame or Series
        What each row bought: a line for each thing, with the columns `row` and `value`,
        or a Series of things whose index names the rows. Things bought twice count
        once.
    recommended : DataFrame
        A list for each row: a line for each thing, with the columns `row`, `value` and
        `rank`, in any order.
    k : int or None, default=None
        How many of each list count, 1 or more; None: all.
    per_row : bool, default=False
        Whether to return what each row has, and not the mean.
    row, value, rank : str, default="row", "value", "rank"
        Names of the columns. `rank` is lowest for the best; only the order of a row's
        ranks counts, so that they may begin at 0, or have gaps.

    Returns
    -------
    float or Series of shape (n_rows_that_bought,)
        Between 0 and 1; the mean of the rows that bought something is NaN if none did.

    Raises
    ------
    ValueError
        If a column is absent, a value is missing, a list has a thing or a rank twice,
        or no list is of a row that bought.
    TypeError
        If a table is none, ranks are no numbers, or one table has numbers where the
        other has text.

    Warns
    -----
    UndefinedMetricWarning
        If nothing was bought.

    See Also
    --------
    hit_rate_at_k : Whether anything is right.

    Notes
    -----
    ``1 / place`` of the first thing in a row's list that it bought; 0 if there is none.

    Rows without purchases are left out; rows that bought, but have no list, count as 0.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.metrics import mean_reciprocal_rank
    >>> bought = pd.Series(["milk", "tea", "milk"], index=["ann", "ann", "bob"])
    >>> recommended = pd.DataFrame(
    ...     {
    ...         "row": ["ann", "ann", "bob", "bob"],
    ...         "rank": [1, 2, 1, 2],
    ...         "value": ["milk", "jam", "tea", "milk"],
    ...     }
    ... )
    >>> mean_reciprocal_rank(bought, recommended)
    0.75
    """
    hits = Hits.of(bought, recommended, row, value, rank)
    near = hits.up_to(k)
    first = np.flatnonzero(np.diff(near.row, prepend=-1))
    found = np.zeros(len(hits.rows))
    found[near.row[first]] = 1 / near.place[first]
    return _result(found, hits, "mean_reciprocal_rank", row, per_row)


def _result(
    scores: np.ndarray, hits: Hits, name: str, row: str, per_row: bool
) -> float | pd.Series:
    """Scores of the rows that bought something, or their mean."""
    if per_row:
        return pd.Series(scores, hits.rows.rename(row), name=name)
    if not len(scores):
        warn_undefined("Nothing was bought, and nothing could be found")
        return np.nan
    return float(scores.mean())
