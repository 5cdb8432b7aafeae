"""Counterfactual check: change the events after the cutoffs, and compare outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import check_consistent_length, check_random_state

from sklearn_seqcrm._columns import Table, warn_other_order
from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm._store import RawLog
from sklearn_seqcrm._typing import Estimator
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.model_selection._changed_outputs import EVENTS, Findings
from sklearn_seqcrm.model_selection._future import Future
from sklearn_seqcrm.model_selection._labels_in_columns import refuse_labels
from sklearn_seqcrm.model_selection._outputs import METHODS, Output, compute_outputs

# A log, and the names of the columns with histories of it.
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
    fitted: Estimator,
    X: pd.DataFrame,
    y: ArrayLike | None = None,
    *,
    n_cutoffs: int | None = 20,
    rtol: float = 1e-5,
    random_state: int | np.random.RandomState | None = 0,
) -> None:
    """Raise an error if an output depends on events at or after the cutoff of a row.

    A history is a view of a log that also has the events at or after the cutoff of the
    row. For each checked cutoff, this function makes three changed logs, in which
    events at or after the cutoff are

    - deleted, together with the levels of categories that only these events have,
    - rewritten, that is, moved to later times, with all fields changed,
    - supplemented by three new events per customer, one with an unseen category,

    and computes all outputs of the rows up to the cutoff with each of them. It also
    leaves out the rows of `X` with later cutoffs. An output that changes uses the
    future.

    Parameters
    ----------
    fitted : fitted estimator
        A transformer, classifier, regressor, density estimator or pipeline. Outputs of
        ``transform``, ``predict_proba``, ``decision_function``, ``predict`` and
        ``score_samples`` are checked, as far as it has these methods.
    X : DataFrame of shape (n, n_columns)
        Rows with one or more columns of raw histories, which `fitted` takes.
    y : array-like of shape (n,) or (n, k), default=None
        Targets of the rows. If they are given, columns of `X` that hold them are found,
        too: those whose values correspond one to one to the values of `y`, in 20 rows
        or more, and on which an output depends. Of numbers, durations and times that
        mostly differ from row to row, they are those with the same order as `y`, or the
        reverse.
    n_cutoffs : int or None, default=20
        Number of distinct cutoffs to check; None: all. If there are more, they are
        drawn at random, but the last one is always checked. If all histories are of one
        log, the last cutoff checks all rows. With several logs, a cutoff is one time
        per log, and the last one is the last of the first log: rows with a later cutoff
        in another log are only checked if their cutoffs are drawn, or with None.
    rtol : float, default=1e-5
        Relative tolerance. Networks add float32 numbers in another order if a batch has
        other rows, so that the last digits of outputs differ. A difference is tolerated
        up to `rtol` times the distance of the number from the median of the output,
        plus a millionth (or `rtol`, if that is less) of the number or of the typical
        size of the output in all rows. Whole numbers must be equal.
    random_state : int, RandomState or None, default=0
        Seed to draw cutoffs and the fields of new events.

    Raises
    ------
    AssertionError
        If an output changes. The message names each such column or class, the number of
        its changed rows, and the changes of the log that caused it. Also if two calls
        with the same `X` differ, or outputs depend on columns of `X` that hold `y`.
    TypeError
        If `X` is not a DataFrame, its histories are encoded, or `fitted` has none of
        the methods.
    ValueError
        If `X` has no rows or no history column, all histories are missing, or `y` has
        another number of rows.

    Warns
    -----
    UserWarning
        If `y` has the index of `X` in another order.

    See Also
    --------
    CutoffSplit : Cross-validation without overlapping labels.

    Notes
    -----
    The output of a row may depend on all events before its cutoff, also on events that
    its history does not have: those before a lookback, and those of other customers. It
    may depend on events at the cutoff if its history has them (`allow_exact_matches` of
    `EventLog.attach`). If a row has several histories of one log, it may depend on the
    events of each of them.

    Two leaks are not found: statics of `X` that were computed from later events, unless
    they hold `y`, and parameters that were learned from such events. For the latter,
    fit on rows of the past (`CutoffSplit`).

    The id of a customer without an earlier event is the future, too, if it comes from
    the log, as ``HistoryArray.customers`` does, and not from a column of `X`:
    it shows that the customer will have an event.

    Each checked cutoff takes four calls of every method with the rows up to it, and
    three passes over the events of their customers. A sample of rows is sufficient.

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
    AssertionError: FunctionTransformer uses the future: 1 of 1 outputs depend on ...
    - transform, 'n_orders': 5 of 5 rows, where events are deleted or added; ...
    """
    if isinstance(fitted, type) or not any(hasattr(fitted, name) for name in METHODS):
        raise TypeError(
            "fitted must be an estimator with one of the methods "
            f"{', '.join(METHODS)}; got {fitted!r}."
        )
    table = Table.of(X).refuse_no_rows("check_no_leakage")
    table.refuse_encoded("check_no_leakage")
    if all(array.isna().all() for array in table.histories.values()):
        raise ValueError("All histories are missing; check_no_leakage needs cutoffs.")
    if y is not None:
        check_consistent_length(X, y)
        warn_other_order(X, y)
    X, logs = _with_compact_logs(table)
    rng = check_random_state(random_state)
    baseline = compute_outputs(fitted, X)
    findings = Findings(type(fitted).__name__, X.index, baseline, rtol)
    all_rows = np.ones(len(X), bool)
    findings.compare(baseline, compute_outputs(fitted, X), all_rows, "called twice")
    # Otherwise every random output would be reported as a leak.
    findings.raise_if_any("is not deterministic", "differ between two calls")
    if y is not None:
        refuse_labels(fitted, X, y, baseline, rtol)
    for futures, rows in _futures(X, logs, n_cutoffs, rng):
        expected = {name: output.take(rows) for name, output in baseline.items()}
        without_later_rows = compute_outputs(fitted, X[rows])
        findings.compare(
            expected, without_later_rows, rows, "later rows of X are left out"
        )
        for change, X_changed in _counterfactuals(X[rows], futures, logs, rng):
            changed_outputs = _outputs_or_note(fitted, X_changed, change)
            # Not with `expected`: a leak of later rows is no leak of events.
            findings.compare(without_later_rows, changed_outputs, rows, EVENTS + change)
    findings.raise_if_any(
        "uses the future",
        "depend on events at or after the cutoffs, or on later rows of X",
    )


def _with_compact_logs(table: Table) -> tuple[pd.DataFrame, list[_LogOf]]:
    """Restrict each log to the customers of the rows; return rows and logs.

    Each change of the future passes over all events of a log, so that customers without
    a row are left out, and so are logs without events.
    """
    arrays = dict(table.histories)
    columns_of: dict[int, list[str]] = {}
    for name, array in arrays.items():
        columns_of.setdefault(id(array.log), []).append(name)
    logs = []
    for names in columns_of.values():
        log: Any = arrays[names[0]].log
        codes = np.unique(np.concatenate([arrays[name].rows.codes for name in names]))
        codes = codes[codes >= 0]
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
    """Yield the futures of the logs at one cutoff, and which rows to check with them.

    These are the rows with no later cutoff whose histories have none of these events.
    """
    cutoffs = [_last_cutoffs(X, log, names) for log, names in logs]
    group = _cutoff_groups(X, logs, cutoffs)
    n_groups = group.max() + 1
    chosen = np.arange(n_groups)
    if n_cutoffs is not None and n_cutoffs < n_groups:
        # The last group is always checked. With one log, its future checks all rows.
        # With several logs, whose cutoffs may be in another order, it does not check
        # rows with a later cutoff in another log than the first.
        drawn = rng.permutation(n_groups - 1)[: n_cutoffs - 1]
        chosen = np.append(np.sort(drawn), n_groups - 1)
    for number in chosen:
        members = np.flatnonzero(group == number)
        rows = np.ones(len(X), dtype=bool)
        futures = []
        for (log, names), cutoff in zip(logs, cutoffs, strict=True):
            arrays = [X[name].array for name in names]
            # All members have the same cutoff in this log.
            own = [array[members] for array in arrays]
            future = Future.of(log, cutoff[members[0]], own)
            rows &= cutoff <= future.cutoff
            # Leave out rows at this cutoff whose histories have events of the future.
            for array in arrays:
                codes, stop = array.rows.codes, array.rows.stop
                rows &= (codes < 0) | (stop <= future.begin[codes])
            futures.append(future)
        yield futures, rows


def _cutoff_groups(
    X: pd.DataFrame, logs: list[_LogOf], cutoffs: list[np.ndarray]
) -> np.ndarray:
    """Return the number of the group of each row, shape (n,), int64.

    Groups are sorted by the cutoff in the first log, then the second, and so on. Rows
    at one cutoff are two groups: first those without, then those with the events at the
    cutoff (`allow_exact_matches`), which are the future of the former only.
    """
    includes_cutoff = np.zeros(len(X), dtype=bool)
    for (log, names), cutoff in zip(logs, cutoffs, strict=True):
        for name in names:
            codes, stop = X[name].array.rows.codes, X[name].array.rows.stop
            before = log.timeline.positions(codes, cutoff)
            includes_cutoff |= (codes >= 0) & (stop > before)
    # Rank of each distinct (cutoff in log 1, cutoff in log 2, ..., includes_cutoff).
    group = np.zeros(len(X), dtype="int64")
    for column in (*cutoffs, includes_cutoff):
        distinct, rank = np.unique(column, return_inverse=True)
        group = np.unique(group * len(distinct) + rank, return_inverse=True)[1]
    return group


def _last_cutoffs(X: pd.DataFrame, log: RawLog, names: Sequence[str]) -> np.ndarray:
    """Return the last cutoff of each row in the history columns of a log, (n,)."""
    times = np.full(len(X), log.timeline.times.min())
    for name in names:
        present = ~X[name].array.isna()
        times[present] = np.maximum(times, X[name].array.rows.cutoff)[present]
    return times


def _counterfactuals(
    X: pd.DataFrame,
    futures: Sequence[Future],
    logs: list[_LogOf],
    rng: np.random.RandomState,
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each change of the future, and X with histories of the changed logs."""
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


def _outputs_or_note(fitted: Any, X: pd.DataFrame, change: str) -> dict[str, Output]:
    """Compute outputs; add a note to errors, since the user's `X` raises none."""
    try:
        return compute_outputs(fitted, X)
    except Exception as error:
        error.add_note(
            f"check_no_leakage: {type(fitted).__name__} raised this after the events "
            f"at and after the cutoffs had been {change}; before, it did not."
        )
        raise
