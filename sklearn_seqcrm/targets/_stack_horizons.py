"""Targets on several horizons as rows that differ in their exposure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sklearn_seqcrm._sklearn_compat import validate_params
from sklearn_seqcrm._store import refuse_taken


@validate_params(
    {"X": [pd.DataFrame], "y": [pd.DataFrame], "name": [str]},
    prefer_skip_nested_validation=True,
)
def stack_horizons(
    X: pd.DataFrame, y: pd.DataFrame, *, name: str = "horizon"
) -> tuple[pd.DataFrame, pd.Series]:
    """Make a row of each row and horizon.

    A model of such rows learns of windows of different lengths at once, of more rows
    than one horizon has, and predicts for any other.

    Parameters
    ----------
    X : DataFrame of shape (n, n_columns)
        Rows with histories, which cost no more for being repeated.
    y : DataFrame of shape (n, k)
        A target on several horizons, from `future_count`, `future_sum` or `churned`,
        for the same rows; missing where a window is incomplete (``censored="nan"``).
    name : str, default="horizon"
        Name of the new column.

    Returns
    -------
    rows : DataFrame of shape (n_known, n_columns + 1)
        The rows of `X`, each as often as it has known targets, and the horizon, a
        Timedelta or a number. Rows keep their labels in the index.
    target : Series of shape (n_known,)
        The targets.

    Raises
    ------
    ValueError
        If `X` and `y` have not the same index, or `X` has a column `name`.

    See Also
    --------
    LSTMRegressor : Its `exposure` is the name of the column.

    Notes
    -----
    Where rows are split by time, as by `CutoffSplit`, pass the longest horizon: it is
    the one whose windows end last. Rows of one cutoff stay in one part.

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

    A model of them is ``LSTMRegressor(loss="poisson", exposure="horizon")``, and what
    it predicts for 90 days is
    ``model.predict(X.assign(horizon=pd.Timedelta("90D")))``.
    """
    if not X.index.equals(y.index):
        raise ValueError(
            f"X has {len(X)} rows and y {len(y)}, and their indexes differ: y must be "
            "a target of the rows of X. If it has been left without some of them, "
            "X.loc[y.index] are the others."
        )
    refuse_taken(name, X.columns, "X", "name")
    known = y.notna().to_numpy()
    row, column = np.nonzero(known)
    rows = X.iloc[row]
    rows = rows.assign(**{name: y.columns[column].to_numpy()})
    target = pd.Series(y.to_numpy()[known], index=rows.index, name="target")
    return rows, target
