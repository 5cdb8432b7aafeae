"""Metrics of ranked lists of recommended items, given the items that were bought."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm.metrics._hits import Hits
from sklearn_seqcrm.metrics._read import warn_undefined

_PARAMS: dict[str, list[Any]] = {
    "k": [Interval(Integral, 1, None, closed="left")],
    "per_row": ["boolean"],
    "row": [str],
    "value": [str],
    "rank": [str],
}
_check_params = validate_params(_PARAMS)

# With the set B of the items that a row bought and the item l[p] at place p = 1, 2, ...
# of its list, hit[p] = (l[p] in B). `Hits` holds the places p of the hits of all rows.


@_check_params
def recall_at_k(
    bought: pd.DataFrame | pd.Series,
    recommended: pd.DataFrame,
    k: int = 10,
    *,
    per_row: bool = False,
    row: str = "row",
    value: str = "value",
    rank: str = "rank",
) -> float | pd.Series:
    """Compute the share of the bought items among the top k recommended.

    Parameters
    ----------
    bought : DataFrame or Series
        The items that each row bought: one line per item, with the columns `row` and
        `value`, or a Series of items with the rows as its index. Repeated purchases of
        an item count once.
    recommended : DataFrame
        One ranked list per row: one line per item, with the columns `row`, `value` and
        `rank`, in any order.
    k : int, default=10
        Number of top items of each list that count, 1 or more.
    per_row : bool, default=False
        Whether to return one score per row instead of their mean.
    row, value, rank : str, default="row", "value", "rank"
        Names of the columns. The best item has the lowest `rank`. Only the order of the
        ranks of a row matters; they may begin at 0 and skip numbers.

    Returns
    -------
    float or Series of shape (n_rows_that_bought,)
        Between 0 and 1. The mean is over rows with a purchase, and NaN without any.

    Raises
    ------
    ValueError
        If a column is absent, a value is missing, a list repeats an item or a rank, or
        no list belongs to a row with a purchase.
    TypeError
        If an argument is not a table, ranks are not numbers, or one table has numbers
        where the other has text.

    Warns
    -----
    UndefinedMetricWarning
        If nothing was bought.

    See Also
    --------
    ndcg_at_k : Weights the hits by their places.
    hit_rate_at_k : Whether there is any hit.
    mean_reciprocal_rank : The place of the first hit.

    Notes
    -----
    ``|top k and bought| / |bought|`` of each row. A row with more than `k` bought items
    cannot reach 1.

    Rows without purchases are left out. Rows with a purchase but no list score 0: drop
    them from `bought` if nothing was recommended to them on purpose.

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
    # recall@k = (sum of hit[p] over p = 1 ... k) / |B|
    found = hits.up_to(k).sums()
    return _result(found / hits.n_bought, hits, "recall_at_k", row, per_row)


@_check_params
def ndcg_at_k(
    bought: pd.DataFrame | pd.Series,
    recommended: pd.DataFrame,
    k: int = 10,
    *,
    per_row: bool = False,
    row: str = "row",
    value: str = "value",
    rank: str = "rank",
) -> float | pd.Series:
    """Compute the normalized discounted cumulative gain of the top k recommended.

    Parameters
    ----------
    bought : DataFrame or Series
        The items that each row bought: one line per item, with the columns `row` and
        `value`, or a Series of items with the rows as its index. Repeated purchases of
        an item count once.
    recommended : DataFrame
        One ranked list per row: one line per item, with the columns `row`, `value` and
        `rank`, in any order.
    k : int, default=10
        Number of top items of each list that count, 1 or more.
    per_row : bool, default=False
        Whether to return one score per row instead of their mean.
    row, value, rank : str, default="row", "value", "rank"
        Names of the columns. The best item has the lowest `rank`. Only the order of the
        ranks of a row matters; they may begin at 0 and skip numbers.

    Returns
    -------
    float or Series of shape (n_rows_that_bought,)
        Between 0 and 1. The mean is over rows with a purchase, and NaN without any.

    Raises
    ------
    ValueError
        If a column is absent, a value is missing, a list repeats an item or a rank, or
        no list belongs to a row with a purchase.
    TypeError
        If an argument is not a table, ranks are not numbers, or one table has numbers
        where the other has text.

    Warns
    -----
    UndefinedMetricWarning
        If nothing was bought.

    See Also
    --------
    recall_at_k : Weights all places equally.
    sklearn.metrics.ndcg_score : For graded relevances, in a matrix of rows and items.

    Notes
    -----
    A hit at place ``p`` gains ``1 / log2(p + 1)``. The sum over the top `k`, DCG, is
    divided by that of an ideal list, whose first ``min(k, |bought|)`` places are hits
    [1]_.

    Rows without purchases are left out. Rows with a purchase but no list score 0.

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
    # DCG@k   = sum of hit[p] / log2(p + 1) over p = 1 ... k
    # ideal@k = sum of 1 / log2(p + 1) over p = 1 ... min(k, |B|)
    dcg = near.sums(1 / np.log2(near.place + 1))
    n_ideal = hits.n_bought.clip(max=k)
    ideal = np.cumsum(1 / np.log2(np.arange(2, n_ideal.max(initial=0) + 2)))
    return _result(dcg / ideal[n_ideal - 1], hits, "ndcg_at_k", row, per_row)


@_check_params
def hit_rate_at_k(
    bought: pd.DataFrame | pd.Series,
    recommended: pd.DataFrame,
    k: int = 10,
    *,
    per_row: bool = False,
    row: str = "row",
    value: str = "value",
    rank: str = "rank",
) -> float | pd.Series:
    """Compute the share of the rows with a hit among the top k recommended.

    Parameters
    ----------
    bought : DataFrame or Series
        The items that each row bought: one line per item, with the columns `row` and
        `value`, or a Series of items with the rows as its index. Repeated purchases of
        an item count once.
    recommended : DataFrame
        One ranked list per row: one line per item, with the columns `row`, `value` and
        `rank`, in any order.
    k : int, default=10
        Number of top items of each list that count, 1 or more.
    per_row : bool, default=False
        Whether to return one score per row instead of their mean.
    row, value, rank : str, default="row", "value", "rank"
        Names of the columns. The best item has the lowest `rank`. Only the order of the
        ranks of a row matters; they may begin at 0 and skip numbers.

    Returns
    -------
    float or Series of shape (n_rows_that_bought,)
        Between 0 and 1. The mean is over rows with a purchase, and NaN without any.

    Raises
    ------
    ValueError
        If a column is absent, a value is missing, a list repeats an item or a rank, or
        no list belongs to a row with a purchase.
    TypeError
        If an argument is not a table, ranks are not numbers, or one table has numbers
        where the other has text.

    Warns
    -----
    UndefinedMetricWarning
        If nothing was bought.

    See Also
    --------
    recall_at_k : The share of the bought items that are hits.

    Notes
    -----
    1 for a row that bought at least one of the top `k` items of its list, else 0.

    Rows without purchases are left out. Rows with a purchase but no list score 0.

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
    # hit@k = 1 if any of hit[1], ..., hit[k] is 1
    found = hits.up_to(k).sums() > 0
    return _result(found.astype("float64"), hits, "hit_rate_at_k", row, per_row)


@validate_params({**_PARAMS, "k": [*_PARAMS["k"], None]})
def mean_reciprocal_rank(
    bought: pd.DataFrame | pd.Series,
    recommended: pd.DataFrame,
    k: int | None = None,
    *,
    per_row: bool = False,
    row: str = "row",
    value: str = "value",
    rank: str = "rank",
) -> float | pd.Series:
    """Compute the mean of 1 / place of the first hit of each row.

    Parameters
    ----------
    bought : DataFrame or Series
        The items that each row bought: one line per item, with the columns `row` and
        `value`, or a Series of items with the rows as its index. Repeated purchases of
        an item count once.
    recommended : DataFrame
        One ranked list per row: one line per item, with the columns `row`, `value` and
        `rank`, in any order.
    k : int or None, default=None
        Number of top items of each list that count, 1 or more; None for all.
    per_row : bool, default=False
        Whether to return one score per row instead of their mean.
    row, value, rank : str, default="row", "value", "rank"
        Names of the columns. The best item has the lowest `rank`. Only the order of the
        ranks of a row matters; they may begin at 0 and skip numbers.

    Returns
    -------
    float or Series of shape (n_rows_that_bought,)
        Between 0 and 1. The mean is over rows with a purchase, and NaN without any.

    Raises
    ------
    ValueError
        If a column is absent, a value is missing, a list repeats an item or a rank, or
        no list belongs to a row with a purchase.
    TypeError
        If an argument is not a table, ranks are not numbers, or one table has numbers
        where the other has text.

    Warns
    -----
    UndefinedMetricWarning
        If nothing was bought.

    See Also
    --------
    hit_rate_at_k : Whether there is any hit.

    Notes
    -----
    ``1 / place`` of the first item in the list of a row that it bought; 0 without a hit
    [1]_.

    Rows without purchases are left out. Rows with a purchase but no list score 0.

    References
    ----------
    .. [1] Voorhees, E. M. (1999). The TREC-8 question answering track report.
       Proceedings of TREC-8, 77-82.
       https://trec.nist.gov/pubs/trec8/papers/qa_report.pdf

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
    # RR = 1 / min{p: hit[p]}. Hits are sorted by row and place: the first hit of each
    # row has the smallest p.
    first = np.flatnonzero(np.diff(near.row, prepend=-1))
    found = np.zeros(len(hits.rows))
    found[near.row[first]] = 1 / near.place[first]
    return _result(found, hits, "mean_reciprocal_rank", row, per_row)


def _result(
    scores: np.ndarray, hits: Hits, name: str, row: str, per_row: bool
) -> float | pd.Series:
    """Return the scores of the rows with a purchase, or their mean."""
    if per_row:
        return pd.Series(scores, hits.rows.rename(row), name=name)
    if not len(scores):
        warn_undefined("Nothing was bought, and nothing could be found")
        return np.nan
    return float(scores.mean())
