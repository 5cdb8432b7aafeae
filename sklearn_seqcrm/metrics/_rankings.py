"""Metrics of ranked lists of recommended items, given the items that were bought."""

from __future__ import annotations

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm.metrics._read import warn_undefined


class Hits(NamedTuple):
    """Hits of the lists of all rows, and the number of items that each row bought.

    Notes
    -----
    For example, ann bought milk and tea, and bob milk::

        ann's list  jam  milk        rows      ann  bob
        bob's list  milk tea         n_bought    2    1
                                     row         0    1     one hit each,
                                     place       2    1     at places 2 and 1
    """

    rows: pd.Index  # (n_rows,): rows with a purchase, in the order of their first line
    # (n_rows,), int64: number of distinct items that each row bought.
    n_bought: np.ndarray
    row: np.ndarray  # (n_hits,), int64: position in `rows`, ascending
    # (n_hits,), int64: place in the list of the row, from 1, ascending within a row.
    place: np.ndarray

    @classmethod
    def of(cls, bought: Any, recommended: Any, row: str, value: str, rank: str) -> Hits:
        """Read both tables and match their items; see `recall_at_k`."""
        # Whatever the types of rows and items, match integer codes.
        if isinstance(bought, pd.Series):
            bought = pd.DataFrame({row: bought.index, value: bought.array})
        purchases = _read_table(bought, "bought", [row, value])
        ranked = _read_table(recommended, "recommended", [row, value, rank])
        _refuse_text_beside_numbers(purchases, ranked, row, value)
        purchase_row, rows = pd.factorize(purchases[row])
        ranked, line_row = _in_order(ranked, rows, row, rank)
        values = pd.factorize(pd.concat([purchases[value], ranked[value]]))[0]
        n_values = int(values.max(initial=0)) + 1
        # One integer per pair of row and item: row * n_values + value. pandas hashes
        # them; np.unique, which sorts, took more than a second for a million.
        pairs = pd.Index(np.concatenate([purchase_row, line_row]) * n_values + values)
        basket, lists = pairs[: len(purchases)].unique(), pairs[len(purchases) :]
        n_repeated = int(lists.duplicated().sum())
        if n_repeated:
            raise ValueError(
                f"recommended has {n_repeated} lines that repeat a {value!r} of their "
                f"row; drop_duplicates([{row!r}, {value!r}]) keeps the first of each."
            )
        n_bought = np.bincount(basket // n_values, minlength=len(rows))
        hit = basket.get_indexer(lists) >= 0
        # Lists are sorted by row and rank: places count the lines of each row from 1.
        place = 1 + ranked.groupby(line_row).cumcount().to_numpy()
        return cls(rows, n_bought, line_row[hit], place[hit])

    def up_to(self, k: int | None) -> Hits:
        """Keep the hits among the first k places of each list; None keeps all."""
        if k is None:
            return self
        near = self.place <= k
        return self._replace(row=self.row[near], place=self.place[near])

    def sums(self, of_hit: np.ndarray | None = None) -> np.ndarray:
        """Return the number, or a weighted sum, of the hits of each row, (n_rows,)."""
        return np.bincount(self.row, of_hit, minlength=len(self.rows))


def _read_table(table: Any, name: str, columns: list[str]) -> pd.DataFrame:
    """Return the columns of a table; categoricals, whose codes differ, as values."""
    if not isinstance(table, pd.DataFrame):
        or_series = " or a Series" if name == "bought" else ""
        raise TypeError(
            f"{name} must be a DataFrame{or_series}; got {type(table).__name__}."
        )
    absent = [column for column in columns if column not in table]
    if absent:
        raise ValueError(
            f"{name} has no columns {absent}; it has {list(table)}. Say what they are "
            "called with row=, value= and rank=."
        )
    found = {}
    for column in columns:
        values = table[column]
        n_missing = int(values.isna().sum())
        if n_missing:
            raise ValueError(
                f"Column {column!r} of {name} has {n_missing} missing values among "
                f"{len(values)}; leave those lines out."
            )
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(values.cat.categories.dtype)
        found[column] = values.reset_index(drop=True)
    return pd.DataFrame(found)


def _refuse_text_beside_numbers(
    purchases: pd.DataFrame, ranked: pd.DataFrame, row: str, value: str
) -> None:
    """Raise a TypeError if one table has text and the other numbers: no match."""
    # pandas would find no equal pair, and every score would be 0.
    if not len(purchases) or not len(ranked):
        return
    for column in (row, value):
        types = {
            # A thousand values suffice; inference reads all of them.
            name: pd.api.types.infer_dtype(table[column].iloc[:1000])
            for name, table in (("bought", purchases), ("recommended", ranked))
        }
        if sum(found == "string" for found in types.values()) == 1:
            raise TypeError(
                f"Column {column!r} is {types['bought']} in bought, but "
                f"{types['recommended']} in recommended; make them of one type."
            )


def _in_order(
    ranked: pd.DataFrame, rows: pd.Index, row: str, rank: str
) -> tuple[pd.DataFrame, np.ndarray]:
    """Sort the lists of the rows with a purchase by row, then by rank.

    Returns the lines of these rows, and the position in `rows` of each line.
    """
    if ranked[rank].dtype.kind not in "biuf":
        raise TypeError(
            f"Column {rank!r} of recommended must hold numbers, 1 for the best; got "
            f"{ranked[rank].dtype}."
        )
    line_row = rows.get_indexer(pd.Index(ranked[row]))
    of_buyers = np.flatnonzero(line_row >= 0)
    if len(rows) and len(ranked) and not len(of_buyers):
        raise ValueError(
            f"No {row!r} of recommended is among those of bought, such as "
            f"{rows[:1].tolist()[0]!r} beside {ranked[row].tolist()[0]!r}; both must "
            "name rows in the same way."
        )
    # The last key is the primary one: by row, then by rank.
    order = of_buyers[
        np.lexsort((ranked[rank].to_numpy()[of_buyers], line_row[of_buyers]))
    ]
    ranked, line_row = ranked.iloc[order], line_row[order]
    tied = ranked.loc[ranked.duplicated([row, rank]), row].tolist()
    if tied:
        raise ValueError(
            f"recommended has {len(tied)} lines with the same {rank!r} as another of "
            f"their row, the first in row {tied[0]!r}; a list has an order."
        )
    return ranked, line_row


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
        The items that each row bought, as in `recall_at_k`.
    recommended : DataFrame
        One ranked list per row, as in `recall_at_k`.
    k : int, default=10
        Number of top items of each list that count, 1 or more.
    per_row : bool, default=False
        Whether to return one score per row instead of their mean.
    row, value, rank : str, default="row", "value", "rank"
        Names of the columns, as in `recall_at_k`.

    Returns
    -------
    float or Series of shape (n_rows_that_bought,)
        Between 0 and 1. The mean is over rows with a purchase, and NaN without any.

    Raises
    ------
    ValueError, TypeError
        As in `recall_at_k`.

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
        The items that each row bought, as in `recall_at_k`.
    recommended : DataFrame
        One ranked list per row, as in `recall_at_k`.
    k : int, default=10
        Number of top items of each list that count, 1 or more.
    per_row : bool, default=False
        Whether to return one score per row instead of their mean.
    row, value, rank : str, default="row", "value", "rank"
        Names of the columns, as in `recall_at_k`.

    Returns
    -------
    float or Series of shape (n_rows_that_bought,)
        Between 0 and 1. The mean is over rows with a purchase, and NaN without any.

    Raises
    ------
    ValueError, TypeError
        As in `recall_at_k`.

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
        The items that each row bought, as in `recall_at_k`.
    recommended : DataFrame
        One ranked list per row, as in `recall_at_k`.
    k : int or None, default=None
        Number of top items of each list that count, 1 or more; None for all.
    per_row : bool, default=False
        Whether to return one score per row instead of their mean.
    row, value, rank : str, default="row", "value", "rank"
        Names of the columns, as in `recall_at_k`.

    Returns
    -------
    float or Series of shape (n_rows_that_bought,)
        Between 0 and 1. The mean is over rows with a purchase, and NaN without any.

    Raises
    ------
    ValueError, TypeError
        As in `recall_at_k`.

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
