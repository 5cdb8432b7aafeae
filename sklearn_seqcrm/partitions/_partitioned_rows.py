"""Rows with histories, in partitions: map functions, fit transformers, write files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from sklearn_seqcrm._columns import warn_other_order
from sklearn_seqcrm._typing import Estimator, FilePath
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.partitions._engines import Engine, Part, apply_and_record
from sklearn_seqcrm.partitions._fit_transformer import fit_transformer
from sklearn_seqcrm.partitions._folder import write_folder
from sklearn_seqcrm.partitions._recipes import RowMaker
from sklearn_seqcrm.partitions._types import (
    as_table,
    check_function,
    plain,
    widened,
    without_loss,
)

_FEW = 20  # rows on which a function is tried


class PartitionedRows:
    """Rows with histories and statics, which are made partition by partition.

    Made by `PartitionedLog.snapshots` and `PartitionedLog.attach`, not by hand.

    Parameters
    ----------
    engine : Engine
        Where the partitions are.
    make : RowMaker
        How the rows of a partition are made.

    Attributes
    ----------
    n_partitions : int
        Number of partitions.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.partitions import PartitionedLog
    >>> visits = pd.DataFrame({"who": list("aabcc"), "day": [1, 9, 3, 2, 4]})
    >>> log = PartitionedLog([visits[:3], visits[3:]], "who", "day")
    >>> rows = log.snapshots([5])
    >>> rows
    PartitionedRows(2 partitions, columns: who, cutoff, history)
    >>> rows.map(lambda X: X["history"].array.lengths)
      who  cutoff  0
    0   a       5  1
    1   b       5  1
    2   c       5  2
    """

    def __init__(self, engine: Engine, make: RowMaker) -> None:
        self._engine = engine
        self._make = make

    @property
    def n_partitions(self) -> int:
        """Number of partitions."""
        return self._engine.n_partitions

    def __repr__(self) -> str:
        """One line: partitions and columns."""
        return (
            f"PartitionedRows({self.n_partitions} partitions, columns: "
            f"{', '.join(map(str, self._make.empty(self._engine.head()).columns))})"
        )

    def map(
        self, function: Callable[[pd.DataFrame], Any], meta: pd.DataFrame | None = None
    ) -> Any:
        """Apply a function to the rows of each partition.

        Parameters
        ----------
        function : callable
            Takes rows as `EventLog.snapshots` returns them, with statics, and returns
            plain columns of as many rows: a DataFrame, a Series, or an array of shape
            (n,) or (n, n_columns). For example a target, the `transform` of a fitted
            transformer, or the `predict_proba` of a model. It can be pickled. It is not
            called for partitions without rows.
        meta : DataFrame, Series or None, default=None
            A result, of which names and types are taken. None: a list keeps the types
            of each partition, and joins them as `pandas.concat` does, but never rounds
            whole numbers. For Dask and Spark, `function` is called on a few rows of a
            sample or, if it fails on those, of each partition; whole numbers and
            booleans become nullable (``Int64``, ``boolean``).

        Returns
        -------
        Dask, Spark or pandas DataFrame
            Customer and ``"cutoff"`` of each row, and the result. A Dask or Spark
            DataFrame is lazy; a sequence of partitions gives a pandas DataFrame.
            Columns of an array are called ``"0"``, ``"1"``, ... Names are text, and
            categories are their values, such as text, unless `meta` says otherwise. In
            Spark, naive times are ``timestamp_ntz``.

        Raises
        ------
        TypeError
            If `function` returns something else, or a partition has values that the
            types of `meta`, or of the sample, cannot hold without a change.
        ValueError
            If the result has another number of rows, a column called as the customer or
            ``"cutoff"``, or other columns than in `meta`; or there are no rows on
            which `function` could be tried.

        Warns
        -----
        UserWarning
            If the result has the index of the rows in another order: rows are matched
            by position.
        """
        check_function("function", function)
        apply = _Mapped(self._make, function)
        if meta is None:
            empty = self._try(apply)[:0]
            if self._engine.is_distributed:
                empty = widened(empty, list(empty.columns[2:]))
            else:
                apply = replace(apply, keeps_types=True)
        else:
            empty = apply.with_keys(
                self._make.empty(self._engine.head()), self._checked(meta)
            )[:0]
        # Ids of the sample may be int64, and those of others uint64.
        ids = self._make.schema.ids.dtype
        if self._engine.is_distributed and ids.kind in "uf":
            empty = empty.astype({empty.columns[0]: ids})
        return self._engine.frame(replace(apply, empty=empty), empty)

    def counts(self) -> pd.DataFrame:
        """Count what the partitions hold.

        Returns
        -------
        DataFrame of shape (n_partitions, 5)
            For each partition that has customers: ``n_events``, ``n_customers`` with
            events, ``n_rows``, ``n_empty`` (rows without events) and ``n_unmatched``:
            customers with events and without statics or, of attached rows, customers
            without events.
        """
        found = self._engine.collect(partial(_count, self._make))
        return pd.DataFrame(list(found)).set_index("partition")

    def fit(self, transformer: Estimator) -> Any:
        """Fit a transformer of histories on the rows of all partitions.

        Parameters
        ----------
        transformer : HistoryEncoder, HistoryAggregator, RFMFeatures or Pipeline
            A pipeline of `make_history_pipeline` is fitted up to its last step, the
            estimator, which stays as it is. Of other pipelines, the first step must be
            one of these transformers, and the steps up to the last one too.

        Returns
        -------
        object
            The transformer itself, fitted as by ``fit`` on all rows in one process.

        Raises
        ------
        TypeError
            If events would have to be collected to fit a step.
        ValueError
            If there are no rows, statics are encoded by the target
            (``many_levels="target"``), or for the reasons of the transformer's `fit`.

        Notes
        -----
        Only summaries leave the partitions: numbers of events of each level, histograms
        of the leading bits of numbers, sums. Vocabularies, counts, quantiles (by radix
        selection) and all choices that follow from them are equal to those of one
        process. Means and standard deviations, of vectors and of row features, add up
        in another order and agree to about 1e-12 of their size; so `digest` of a layout
        may differ.

        Statics are no events: customer, cutoff and statics of all rows are collected,
        and fitted by scikit-learn here. Without statics, nothing is collected.

        A `HistoryEncoder` takes four to nine passes over the partitions: one for
        counts, one to four for quantiles (one for up to a million numbers of each
        field), one for the spread of interarrival times, one for levels of baskets, one
        for row features. A `HistoryAggregator` takes four to seven, and `RFMFeatures`
        two, or three with an amount and without `kinds`.
        """
        return fit_transformer(transformer, self._engine, self._make)

    def to_disk(
        self, folder: FilePath, y: Callable[[pd.DataFrame], Any] | None = None
    ) -> None:
        """Write an on-disk log and the rows of each partition, for training.

        Parameters
        ----------
        folder : str or path-like
            A new folder, which all workers and the training processes can reach.
        y : callable or None, default=None
            Takes the rows of a partition and returns their targets: a Series, a
            DataFrame, an array (a structured one, too), or a list, which becomes an
            array.

        Raises
        ------
        FileExistsError
            If `folder` exists and is not empty.
        TypeError
            If a column has values that Parquet cannot store, such as tuples, or the
            names or attrs of targets have objects that JSON cannot store. Names may be
            text, numbers, durations and tuples.
        ValueError
            If `y` returns another number of targets than rows, or other columns in
            another partition, or there are no rows.

        Warns
        -----
        UserWarning
            If targets have the index of the rows in another order, as in `map`.

        See Also
        --------
        load_rows : Open the parts of one training process.

        Notes
        -----
        Each partition is a folder ``part-00003`` that appears when it is complete. If
        a worker is lost, another one writes its partition again, and what the first one
        left does not count. ``rows.json`` is written last; without it, `load_rows`
        refuses the folder.
        """
        if y is not None:
            check_function("y", y)
        write_folder(folder, y, self._engine, self._make)

    def _checked(self, meta: Any) -> pd.DataFrame:
        """Return `meta` as a table without the keys, which an earlier result has."""
        if not isinstance(meta, pd.DataFrame | pd.Series):
            raise TypeError(
                "meta must be a pandas DataFrame or Series, such as a result for a few "
                f"rows; got {type(meta).__name__}."
            )
        table = as_table(meta)
        dtype: Any = self._make.empty(self._engine.head())[self._make.recipe.name].dtype
        keys = [dtype.customer, "cutoff"]
        has_keys = list(table.columns[:2]) == keys
        return table.drop(columns=keys) if has_keys else table

    def _try(self, apply: _Mapped) -> pd.DataFrame:
        """Return the result of a function for a few rows."""
        try:
            # Here, without a pass: events of few customers, and statics of others.
            sample = self._make.sample(self._engine.head())
            if self._engine.is_distributed:
                return apply.result(sample)
            # The partitions of a list show their warnings, once.
            return apply_and_record(apply.result, sample)[0]
        except Exception:
            # A model may refuse such rows. Those of a partition are real.
            found = self._engine.collect(partial(_try_in_part, apply))
            for result in found:
                if result is not None:
                    return result
        raise ValueError(
            "There are no rows, so the columns that the function returns are unknown; "
            "give them by meta=, a DataFrame of any result."
        )


@dataclass(frozen=True)
class _Mapped:
    """The result of a function for a partition, with the keys of the rows."""

    make: RowMaker
    function: Callable[[pd.DataFrame], Any]
    empty: pd.DataFrame | None = None
    keeps_types: bool = False

    def __call__(self, part: Part) -> pd.DataFrame:
        X = self.make(part)
        assert self.empty is not None
        if not len(X):
            return self.empty
        found = self.result(X)
        if list(found.columns) != list(self.empty.columns):
            raise ValueError(
                f"The function returned the columns {list(found.columns)}, and in "
                f"meta= or on a sample {list(self.empty.columns)}; it must return the "
                "same for all partitions."
            )
        if self.keeps_types:
            return plain(found)
        changed = {
            str(name): without_loss(found[name], dtype, part.number, found.iloc[:, 0])
            for name, dtype in self.empty.dtypes.items()
            if found[name].dtype != dtype
        }
        return found.assign(**changed)

    def result(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return keys and plain columns of rows."""
        result = self.function(X)
        warn_other_order(X, result, "result")
        found = as_table(result)
        if len(found) != len(X):
            raise ValueError(
                f"The function returned {len(found)} rows for {len(X)}; it must return "
                "one for each."
            )
        return self.with_keys(X, found)

    def with_keys(self, X: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
        """Return a result with the customer and the cutoff of each row in front."""
        name = self.make.recipe.name
        array = X[name].array
        assert isinstance(array, HistoryArray)
        customer = array.dtype.customer
        names = [customer, "cutoff"]
        repeated = [key for key in names if key in found.columns]
        if repeated:
            raise ValueError(
                f"The function returned the columns {repeated}, which are names of the "
                "keys; rename or drop them."
            )
        keys = pd.DataFrame(
            {customer: X[customer].reset_index(drop=True), "cutoff": array.cutoffs}
        )
        if len(found) != len(X):  # only the types of `found` count
            keys, found = keys[:0], found[:0]
        return pd.concat([keys, found.reset_index(drop=True)], axis=1)


def _try_in_part(apply: _Mapped, part: Part) -> pd.DataFrame | None:
    """Return the result of a function for the first rows of a partition, if any."""
    X = apply.make(part)[:_FEW]
    return apply.result(X)[:0] if len(X) else None


def _count(make: RowMaker, part: Part) -> dict[str, int]:
    log = make.log(part)
    X = make.recipe.make(log, part.rows)
    return {
        "partition": part.number,
        "n_events": len(log),
        "n_customers": log.n_customers,
        "n_rows": len(X),
        "n_empty": int((X[make.recipe.name].array.lengths == 0).sum()),
        "n_unmatched": make.recipe.n_unmatched(log, part.rows),
    }
