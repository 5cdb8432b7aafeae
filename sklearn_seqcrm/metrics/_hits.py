"""The recommended items that a row bought: the hits of its list."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd


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
