"""Which of the things that were recommended to a row it bought."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd


class Hits(NamedTuple):
    """Recommended things that were bought, and how many things each row bought.

    Parameters
    ----------
    rows : Index of shape (n_rows,)
        Rows that bought something, in the order of their first purchase.
    n_bought : ndarray of shape (n_rows,), int64
        Number of different things.
    row : ndarray of shape (n_hits,), int64
        Position in `rows`, ascending.
    place : ndarray of shape (n_hits,), int64
        Place in the list of the row, from 1, ascending within a row.
    """

    rows: pd.Index
    n_bought: np.ndarray
    row: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, bought: Any, recommended: Any, row: str, value: str, rank: str) -> Hits:
        """Read both tables; see `recall_at_k`."""
        had = _read_bought(bought, row, value)
        offered = _read_table(recommended, "recommended", [row, value, rank])
        _refuse_other_kinds(had, offered, row, value)
        of_had, rows = pd.factorize(had[row])
        offered, of_offered = _in_order(offered, rows, row, rank)
        values = pd.factorize(pd.concat([had[value], offered[value]]))[0]
        n_values = int(values.max(initial=0)) + 1
        # Numbers for pairs of row and value, hashed by pandas: of a million of them,
        # np.unique took more than a second.
        pairs = pd.Index(np.concatenate([of_had, of_offered]) * n_values + values)
        basket, lists = pairs[: len(had)].unique(), pairs[len(had) :]
        _refuse_repeated(lists, row, value)
        n_bought = np.bincount(basket // n_values, minlength=len(rows))
        hit = basket.get_indexer(lists) >= 0
        return cls(rows, n_bought, of_offered[hit], _places(of_offered)[hit])

    def up_to(self, k: int | None) -> Hits:
        """Keep the hits among the first k of each list; None: all."""
        if k is None:
            return self
        near = self.place <= k
        return self._replace(row=self.row[near], place=self.place[near])

    def sums(self, of_hit: np.ndarray | None = None) -> np.ndarray:
        """Number of hits of each row, or sum of what each counts, shape (n_rows,)."""
        return np.bincount(self.row, of_hit, minlength=len(self.rows))


def _read_bought(bought: Any, row: str, value: str) -> pd.DataFrame:
    if isinstance(bought, pd.Series):
        bought = pd.DataFrame({row: bought.index, value: bought.array})
    return _read_table(bought, "bought", [row, value])


def _read_table(table: Any, name: str, columns: list[str]) -> pd.DataFrame:
    """The columns of a table, without categoricals, whose levels may differ."""
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


def _refuse_other_kinds(
    had: pd.DataFrame, offered: pd.DataFrame, row: str, value: str
) -> None:
    """Numbers and text are never equal, whatever they look like."""
    if not len(had) or not len(offered):
        return
    for column in (row, value):
        kinds = {
            name: pd.api.types.infer_dtype(table[column].iloc[:1000])
            for name, table in (("bought", had), ("recommended", offered))
        }
        if sum(kind == "string" for kind in kinds.values()) == 1:
            raise TypeError(
                f"Column {column!r} is {kinds['bought']} in bought, but "
                f"{kinds['recommended']} in recommended; make them of one kind."
            )


def _in_order(
    offered: pd.DataFrame, rows: pd.Index, row: str, rank: str
) -> tuple[pd.DataFrame, np.ndarray]:
    """Lists of the rows that bought, one after the other, each the best first.

    Parameters
    ----------
    offered : DataFrame of shape (n_lines, 3)
        Lists, in any order.
    rows : Index of shape (n_rows,)
        Rows that bought.
    row, rank : str
        Columns.

    Returns
    -------
    offered : DataFrame of shape (n_lines_of_these, 3)
        The lines of these rows.
    of_line : ndarray of shape (n_lines_of_these,), int64
        Position in `rows` of each, ascending.
    """
    if offered[rank].dtype.kind not in "biuf":
        raise TypeError(
            f"Column {rank!r} of recommended must hold numbers, 1 for the best; got "
            f"{offered[rank].dtype}."
        )
    of_line = rows.get_indexer(pd.Index(offered[row]))
    asked = np.flatnonzero(of_line >= 0)
    if len(rows) and len(offered) and not len(asked):
        raise ValueError(
            f"No {row!r} of recommended is among those of bought, such as "
            f"{rows[:1].tolist()[0]!r} beside {offered[row].tolist()[0]!r}; both must "
            "name rows in the same way."
        )
    order = asked[np.lexsort((offered[rank].to_numpy()[asked], of_line[asked]))]
    offered, of_line = offered.iloc[order], of_line[order]
    _refuse_equal_ranks(of_line, offered, row, rank)
    return offered, of_line


def _places(rows: np.ndarray) -> np.ndarray:
    """Place of each line in its list, from 1; lists one after the other."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    lengths = np.diff(starts, append=len(rows))
    return np.arange(1, len(rows) + 1) - np.repeat(starts, lengths)


def _refuse_equal_ranks(
    rows: np.ndarray, offered: pd.DataFrame, row: str, rank: str
) -> None:
    ranks = offered[rank].to_numpy()
    tied = np.flatnonzero((rows[1:] == rows[:-1]) & (ranks[1:] == ranks[:-1]))
    if len(tied):
        first = offered[row].iloc[tied[:1]].tolist()[0]
        raise ValueError(
            f"recommended has {len(tied)} lines with the same {rank!r} as another of "
            f"their row, the first in row {first!r}; a list has an order."
        )


def _refuse_repeated(pairs: pd.Index, row: str, value: str) -> None:
    n_repeated = int(pairs.duplicated().sum())
    if n_repeated:
        raise ValueError(
            f"recommended has {n_repeated} lines that repeat a {value!r} of their row; "
            f"drop_duplicates([{row!r}, {value!r}]) keeps the first of each."
        )
