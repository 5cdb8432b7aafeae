"""Counterfactual check: change the future of every row, and compare all outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from sklearn_seqcrm._columns import Table
from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm._store import RawLog
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.model_selection._future import Future
from sklearn_seqcrm.model_selection._outputs import (
    METHODS,
    Output,
    changed_rows,
    outputs,
)

_N_ROWS_SHOWN = 3
_EVENTS = "events are "
# A log, and the names of the columns whose histories are views of it.
_LogOf = tuple[RawLog, list[str]]


@validate_params(
    {
        "n_cutoffs": [Interval(Integral, 1, None, closed="left"), None],
        "rtol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    },
    # The estimator validates its own parameters.
    prefer_skip_nested_validation=False,
)
def check_no_leakage(
    fitted: Any,
    X: Any,
    *,
    n_cutoffs: int | None = 20,
    rtol: float = 1e-5,
    random_state: Any = 0,
) -> None:
    """Raise an error if an output depends on events at or after the cutoff of a row.

    The log behind a history column also holds the future of its rows: events at or
    after their cutoffs. This function changes that future and computes all outputs
    again. For each cutoff, the events of all customers at or after it are

    - deleted, which leaves the log as it was at the cutoff, without levels of
      categories that occur only later,
    - rewritten, with other times after the cutoff and other fields,
    - extended by three more events of each customer from the cutoff on, some of them
      with unseen levels of categories,

    and rows of `X` with later cutoffs are left out. No output of the rows up to the
    cutoff may change.

    Parameters
    ----------
    fitted : fitted estimator
        A transformer, classifier, regressor, density or pipeline. The outputs of
        ``transform``, ``predict_proba``, ``decision_function``, ``predict`` and
        ``score_samples`` are checked, as far as it has these methods.
    X : DataFrame of shape (n, n_columns)
        Rows with one or more columns of raw histories, which `fitted` takes.
    n_cutoffs : int or None, default=20
        Number of distinct cutoffs to check, drawn if there are more; the last one is
        always among them. None: all.
    rtol : float, default=1e-5
        Tolerance relative to the distance of a number from the median of the output,
        because networks add in another order if a batch has other rows. Differences of
        up to a millionth of the number itself are tolerated too, unless `rtol` is
        smaller; differences of whole numbers never are.
    random_state : int, RandomState or None, default=0
        Draws cutoffs, and the fields of additional events.

    Raises
    ------
    AssertionError
        If an output changes: the message has each column or class, the number of rows,
        and the changes of the future that they react to. Also if two calls with the
        same `X` differ.
    TypeError
        If `X` is not a DataFrame, its histories are encoded, or `fitted` has none of
        the methods.
    ValueError
        If `X` has no rows or no history column.

    See Also
    --------
    CutoffSplit : Cross-validation without overlapping labels.

    Notes
    -----
    A row may depend on everything that was known at its cutoff: the events before it,
    those at it if its history shows them (`allow_exact_matches` of `EventLog.attach`),
    and also events before it that its history does not show, because of a lookback or
    because they belong to another customer. With several histories of one log, the
    events of any of them are known.

    The check does not cover statics of `X` that already contain the future, and what
    `fit` learned. For the latter, fit on rows of the past (`CutoffSplit`).

    That a customer will ever have an event is the future, too: the id of a customer
    without an earlier event is reported if it comes from the log, as with
    ``HistoryArray.customers``, and not from `X`.

    Each cutoff takes four calls of every method with the rows up to it, and three
    passes over the events of their customers. A sample of the rows is sufficient.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.feature_extraction import RFMFeatures
    >>> from sklearn_seqcrm.model_selection import check_no_leakage
    >>> orders = pd.DataFrame({"who": ["ann", "ann", "bob"], "day": [1, 6, 4]})
    >>> X = EventLog(orders, "who", "day").snapshots([3, 5, 7])
    >>> check_no_leakage(RFMFeatures().fit(X), X)
    >>> def count_orders(X):  # in all of the log, not in the history
    ...     history = X["history"].array
    ...     n_orders = history.log.to_frame()["who"].value_counts()
    ...     return pd.DataFrame({"n_orders": history.customers.map(n_orders)})
    >>> check_no_leakage(FunctionTransformer(count_orders), X)
    Traceback (most recent call last):
        ...
    AssertionError: FunctionTransformer depends on the future: 1 of 1 outputs change ...
    - transform, 'n_orders': 5 of 5 rows, where events are deleted or added; ...
    """
    if not any(hasattr(fitted, method) for method in METHODS):
        raise TypeError(
            f"fitted must have one of the methods {', '.join(METHODS)}; got "
            f"{type(fitted).__name__}."
        )
    X, logs = _compacted(Table.of(X))
    rng = check_random_state(random_state)
    findings = _Findings(type(fitted).__name__, X.index, rtol)
    everything = outputs(fitted, X)
    all_rows = np.ones(len(X), bool)
    findings.compare(everything, outputs(fitted, X), all_rows, "called twice")
    # Otherwise every random output would be reported as a leak.
    findings.refuse("is not deterministic", "")
    for futures, rows in _futures(X, logs, n_cutoffs, rng):
        known = {key: output.take(rows) for key, output in everything.items()}
        now = outputs(fitted, X[rows])
        findings.compare(known, now, rows, "later rows of X are left out")
        for change, other in _counterfactuals(X[rows], futures, logs, rng):
            found = _noted_outputs(fitted, other, change)
            findings.compare(now, found, rows, _EVENTS + change)
    findings.refuse(
        "depends on the future",
        " with what happens at or after the cutoffs, or with later rows",
    )


class _Findings:
    """Outputs that changed, with their rows and with the changes that caused it.

    Parameters
    ----------
    name : str
        Name of the estimator.
    index : Index of shape (n,)
        Labels of all rows.
    rtol : float
        As for `changed_rows`.
    """

    def __init__(self, name: str, index: pd.Index, rtol: float) -> None:
        self.name = name
        self.index = index
        self.rtol = rtol
        self.seen: set[str] = set()
        self.rows: dict[str, np.ndarray] = {}
        self.changes: dict[str, dict[str, None]] = {}

    def compare(
        self,
        before: dict[str, Output],
        after: dict[str, Output],
        rows: np.ndarray,
        change: str,
    ) -> None:
        """Note the outputs of some rows that differ before and after a change."""
        positions = np.flatnonzero(rows)
        for key in {**before, **after}:
            self.seen.add(key)
            # An output that comes or goes has changed in all rows.
            changed = np.ones(len(positions), bool)
            if key in before and key in after:
                both = before[key], after[key]
                changed = changed_rows(*both, len(positions), self.rtol)
            if changed.any():
                self.rows.setdefault(key, np.zeros(len(rows), bool))
                self.rows[key][positions[changed]] = True
                self.changes.setdefault(key, {})[change] = None

    def refuse(self, verdict: str, reason: str) -> None:
        """Raise an AssertionError if an output changed."""
        if not self.rows:
            return
        lines = [
            f"{self.name} {verdict}: {len(self.rows)} of {len(self.seen)} outputs "
            f"change{reason}."
        ]
        for key, rows in self.rows.items():
            shown = ", ".join(map(repr, self.index[rows][:_N_ROWS_SHOWN].tolist()))
            more = ", ..." if rows.sum() > _N_ROWS_SHOWN else ""
            lines.append(
                f"- {key}: {rows.sum()} of {len(rows)} rows, where "
                f"{_listing(self.changes[key])}; rows {shown}{more}"
            )
        raise AssertionError("\n".join(lines))


def _listing(changes: Iterable[str]) -> str:
    """Join changes by "or": "x or events are deleted or added"."""
    others = [change for change in changes if not change.startswith(_EVENTS)]
    of_events = [c.removeprefix(_EVENTS) for c in changes if c.startswith(_EVENTS)]
    return " or ".join(others + [_EVENTS + " or ".join(of_events)] * bool(of_events))


def _compacted(table: Table) -> tuple[pd.DataFrame, list[_LogOf]]:
    """Return X over logs of its own customers, and the history columns of each log.

    Returns
    -------
    X : DataFrame
        The same rows.
    logs : list of (RawLog, list of str)
        Every log that has events, with the names of its columns.
    """
    table.refuse_no_rows("check_no_leakage").refuse_encoded("check_no_leakage")
    arrays = dict(table.histories)
    if all(array.isna().all() for array in arrays.values()):
        raise ValueError("All histories are missing; check_no_leakage needs cutoffs.")
    columns_of: dict[int, list[str]] = {}
    for name, array in arrays.items():
        columns_of.setdefault(id(array.log), []).append(name)
    logs = []
    for names in columns_of.values():
        log: Any = arrays[names[0]].log
        codes = np.unique(np.concatenate([arrays[name].rows.codes for name in names]))
        codes = codes[codes >= 0]
        # Only customers of X: each change passes over all events of the log.
        if 0 < len(codes) < log.n_customers:
            log = log.subset(codes).trimmed()
            for name in names:
                rows = arrays[name].rows.within(log, codes)
                arrays[name] = HistoryArray.of(rows, arrays[name].dtype)
        if len(log):
            logs.append((log, names))
    return table.frame.assign(**arrays), logs


def _futures(
    X: pd.DataFrame,
    logs: list[_LogOf],
    n_cutoffs: int | None,
    rng: np.random.RandomState,
) -> Iterator[tuple[list[Future], np.ndarray]]:
    """Yield the futures of the logs at one cutoff, and the rows that must not see them.

    Rows whose histories show the events at their cutoff come after those at the same
    cutoff whose histories do not, because these events are future for the latter.
    """
    cutoffs = [_known_until(X, log, names) for log, names in logs]
    shows = np.zeros(len(X), dtype=bool)
    for (log, names), cutoff in zip(logs, cutoffs, strict=True):
        for name in names:
            codes, stop = X[name].array.rows.codes, X[name].array.rows.stop
            shows |= (codes >= 0) & (stop > log.timeline.positions(codes, cutoff))
    # Rank of each distinct (cutoff of log 1, cutoff of log 2, ..., shows).
    key = np.zeros(len(X), dtype="int64")
    for column in (*cutoffs, shows):
        levels, rank = np.unique(column, return_inverse=True)
        key = np.unique(key * len(levels) + rank, return_inverse=True)[1]
    n_keys = key.max() + 1
    chosen = np.arange(n_keys)
    if n_cutoffs is not None and n_cutoffs < n_keys:
        # The last one always: it checks all rows.
        drawn = rng.permutation(n_keys - 1)[: n_cutoffs - 1]
        chosen = np.append(np.sort(drawn), n_keys - 1)
    for one in chosen:
        at = np.flatnonzero(key == one)
        rows = np.ones(len(X), dtype=bool)
        futures = []
        for (log, names), cutoff in zip(logs, cutoffs, strict=True):
            arrays = [X[name].array for name in names]
            # All rows of one key have the same cutoff in each log.
            future = Future.of(log, cutoff[at[0]], [array[at] for array in arrays])
            rows &= cutoff <= future.cutoff
            # Rows of an earlier key whose histories show none of this future.
            for array in arrays:
                codes, stop = array.rows.codes, array.rows.stop
                rows &= (codes < 0) | (stop <= future.begin[codes])
            futures.append(future)
        yield futures, rows


def _known_until(X: pd.DataFrame, log: RawLog, names: Sequence[str]) -> np.ndarray:
    """Return the last cutoff of each row among the columns of a log, shape (n,)."""
    times = np.full(len(X), log.timeline.times.min())
    for name in names:
        there = ~X[name].array.isna()
        times[there] = np.maximum(times, X[name].array.rows.cutoff)[there]
    return times


def _counterfactuals(
    X: pd.DataFrame,
    futures: Sequence[Future],
    logs: list[_LogOf],
    rng: np.random.RandomState,
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each change of the future, and X with histories of that future."""
    changes: dict[str, Callable[[Future], RawLog | None]] = {
        "deleted": Future.deleted,
        "rewritten": Future.rewritten,
        "added": lambda future: future.added(rng),
    }
    for change, make in changes.items():
        columns = {}
        for future, (_, names) in zip(futures, logs, strict=True):
            log = make(future)
            if log is not None:  # there are later events to rewrite
                for name in names:
                    columns[name] = future.views_of(log, X[name].array)
        if columns:
            yield change, X.assign(**columns)


def _noted_outputs(fitted: Any, X: pd.DataFrame, change: str) -> dict[str, Output]:
    """Return the outputs; an error gets a note that the future was changed."""
    try:
        return outputs(fitted, X)
    except Exception as error:
        error.add_note(
            f"check_no_leakage: {type(fitted).__name__} raised this after the events "
            f"at and after the cutoffs had been {change}; before, it did not."
        )
        raise
