"""Targets on several horizons: as columns, or stacked as rows with exposures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import NoForwardSplitError, known_horizon, store_horizon
from sklearn_seqcrm._sklearn_compat import validate_params
from sklearn_seqcrm._store import check_name_free
from sklearn_seqcrm.targets._windows import Windows, complete_rows, target_of

# Names in pandas of the types of horizons.
_HORIZONS = ("timedelta64", "timedelta", "integer", "floating", "mixed-integer-float")


def over_horizons(
    target: Callable[[Any], tuple[Any, Windows]],
    horizon: Any,
    censored: str,
    name: str,
) -> pd.Series | pd.DataFrame:
    """Compute a target on one horizon, or a column of it on each of several.

    `target` takes one horizon and returns the targets, (n,), computed from the record,
    and the `Windows`. `censored` is "raise", "drop" or "nan": what to do with
    incomplete windows; ``"drop"`` drops their rows. `name` is that of the target.
    """
    is_list = pd.api.types.is_list_like(horizon)
    # One search per horizon. They share nothing but the histories, which are views.
    found = [target(one) for one in (horizon if is_list else [horizon])]
    if not found:
        raise ValueError(f"horizon must be one or several; got {horizon!r}.")
    all_windows = [windows for _, windows in found]
    columns = [target_of(*one, censored, name) for one in found]
    if not is_list:
        return complete_rows(columns[0], all_windows, censored)
    names = _as_index(all_windows)
    if not names.is_unique:
        twice = names[names.duplicated()].unique()
        shown = ", ".join(map(str, twice[:5]))
        raise ValueError(
            f"horizon names {len(twice)} of its {len(names)} horizons more than "
            f"once: {shown}. Each is a column of the target; horizons that differ "
            "from row to row need a call for each of them."
        )
    table = pd.concat(columns, axis=1).set_axis(names, axis=1)
    return complete_rows(table, all_windows, censored)


def _as_index(windows: list[Windows]) -> pd.Index:
    """Return the horizons as column names: Timedeltas, or the numbers of the log."""
    unit: Any = windows[0].log.timeline.clock.unit  # None on a numeric time axis
    lengths = np.array([one.length for one in windows])
    index = pd.Index(lengths) if unit is None else pd.to_timedelta(lengths, unit=unit)
    return index.rename("horizon")


@validate_params({"X": [pd.DataFrame], "y": [pd.DataFrame], "name": [str]})
def stack_horizons(
    X: pd.DataFrame, y: pd.DataFrame, *, name: str = "horizon"
) -> tuple[pd.DataFrame, pd.Series]:
    """Stack the targets on several horizons: one row per row and horizon.

    A model with the horizon as exposure learns from windows of several lengths at once,
    and predicts for any length.

    Parameters
    ----------
    X : DataFrame of shape (n, n_columns)
        Rows with histories. A repeated row shares its events, so that it costs little.
    y : DataFrame of shape (n, k)
        A target on several horizons, from `future_count`, `future_sum` or `churned`,
        for the same rows; missing where a window is incomplete (``censored="nan"``).
    name : str, default="horizon"
        Name of the new column.

    Returns
    -------
    rows : DataFrame of shape (n_known, n_columns + 1)
        Each row of `X` once per known target, with the horizon (a Timedelta or a
        number) as a column. Rows keep their labels in the index.
    target : Series of shape (n_known,)
        The targets.

    Raises
    ------
    TypeError
        If the columns of `y` are no horizons.
    ValueError
        If the indexes of `X` and `y` differ, `X` has a column `name`, or `y` has no
        horizon, one twice, or one that is missing or not longer than 0.

    See Also
    --------
    LSTMRegressor : Takes the name of the column as its `exposure`.

    Notes
    -----
    To split such rows by time, pass the longest horizon to `CutoffSplit`: its windows
    end last. Rows of one cutoff stay in one part.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.targets import future_count, stack_horizons
    >>> events = pd.DataFrame(
    ...     {
    ...         "customer": ["ann", "ann", "ann", "bob"],
    ...         "day": pd.to_datetime(
    ...             ["2024-03-01", "2024-03-08", "2024-03-20", "2024-03-25"]
    ...         ),
    ...     }
    ... )
    >>> log = EventLog(events, "customer", "day", observed_until="2024-03-31")
    >>> X = log.snapshots(["2024-03-05", "2024-03-19"])
    >>> counts = future_count(X, ["10D", "20D"], censored="nan")
    >>> rows, y = stack_horizons(X, counts)
    >>> rows.drop(columns="history").assign(count=y)
      customer     cutoff horizon  count
    0      ann 2024-03-05 10 days    1.0
    0      ann 2024-03-05 20 days    2.0
    1      ann 2024-03-19 10 days    1.0

    Fit ``LSTMRegressor(loss="poisson", exposure="horizon")`` on them, and predict 90
    days by ``model.predict(X.assign(horizon=pd.Timedelta("90D")))``.
    """
    if not X.index.equals(y.index):
        raise ValueError(
            f"X has {len(X)} rows and y {len(y)}, and their indexes differ: y must be "
            "a target of the rows of X. If rows were dropped from y, X.loc[y.index] "
            "are the others."
        )
    check_name_free(name, X.columns, "X", "name")
    horizons = _horizons_of(y.columns)
    known = y.notna().to_numpy()  # (n, k)
    row, column = np.nonzero(known)  # row by row: the horizons of a row stay together
    rows = X.take(row).assign(**{name: horizons[column].to_numpy()})
    # Values of nullable types are objects in an array of NumPy.
    values = pd.Series(y.to_numpy()[known], index=rows.index, name="target")
    target = values.infer_objects()
    target.attrs.update(y.attrs)
    # The longest horizon of `y`, under the new name.
    try:
        lengths = known_horizon(y)
    except NoForwardSplitError:
        lengths = {}
    store_horizon(target, lengths)
    return rows, target


def _horizons_of(columns: pd.Index) -> pd.Index:
    """Return columns as horizons; refuse any but different Timedeltas or numbers."""
    if isinstance(columns, pd.CategoricalIndex):  # of a pivoted table
        columns = pd.Index(columns.to_numpy(), name=columns.name)
    if not len(columns):
        raise ValueError("y has no columns; it needs a target on one horizon at least.")
    # Columns that were joined or selected may be objects.
    if columns.inferred_type not in _HORIZONS:
        raise TypeError(
            "The columns of y must be the horizons, as Timedeltas or numbers; they are "
            f"{columns[:5].tolist()}. future_count, future_sum and churned give such "
            "columns if horizon is a list; pd.to_timedelta(y.columns) makes Timedeltas "
            "of text such as '7 days'."
        )
    if not columns.is_unique:
        twice = columns[columns.duplicated()].unique()[:5]
        raise ValueError(f"y has several columns for the horizons {list(twice)}.")
    wrong = [one for one in columns if pd.isna(one) or one <= type(one)(0)]
    if wrong:
        raise ValueError(
            f"y has the horizons {wrong[:5]}, but a horizon is longer than 0; leave "
            "these columns out, or name them by their horizons."
        )
    return columns
