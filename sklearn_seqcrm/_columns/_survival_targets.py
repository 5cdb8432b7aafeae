"""The targets of a survival model: event indicator or kind, and observed time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d

from sklearn_seqcrm._columns._horizons import stored_lengths
from sklearn_seqcrm._columns._table import as_pandas
from sklearn_seqcrm._durations import as_floats
from sklearn_seqcrm._stacklevel import warn_user


class SurvivalTargets(NamedTuple):
    """Observed times ``min(T, C)`` and the kinds of the events."""

    kind: np.ndarray  # (n,), int64: kind of the event, from 1 on; 0 for a censored row
    # (n,), float64: time to the event, or the censoring time; days if they were
    # durations.
    time: np.ndarray
    in_days: bool  # whether times were durations


def read_survival_targets(y: Any) -> SurvivalTargets:
    """Convert y to events and times as numbers.

    `y` is a structured array, a DataFrame of two columns, or array-like (n,): only
    times if no row is censored. Raises a TypeError if events or times have an
    unsupported type, and a ValueError if it is ambiguous which column holds the events,
    or values are missing, infinite or negative.
    """
    y = as_pandas(y)
    if isinstance(y, pd.DataFrame) and y.shape[1] != 1:
        columns = {name: y[name] for name in y} if y.columns.is_unique else {}
    elif getattr(getattr(y, "dtype", None), "names", None):
        columns = {name: pd.Series(y[name]) for name in y.dtype.names}
    else:
        return _read_times_alone(y)
    name = _name_of_event(columns)
    [time] = [columns[other] for other in columns if other != name]
    kind = _read_kinds(columns[name])
    # The survival package of R has 1 for censored rows and 2 for events.
    if not stored_lengths(y) and np.array_equal(np.unique(kind), [1, 2]):
        warn_user(
            "Events in y are 1 and 2 in all rows, so that none is censored and 2 is "
            "another kind of event than 1. If 1 means censored, subtract 1."
        )
    return SurvivalTargets(kind, *_read_times(time))


# Times are quotients of ticks, whose rounding errors are a few times 1e-16.
_JUST_BEFORE = 1 - 1e-12


def censor(
    kind: np.ndarray, time: np.ndarray, observed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return kinds and times (n,) as they were known earlier.

    `kind` (n,) is 0 if censored, and `time` (n,) ends with the event or the censoring.
    Rows had been `observed` (n,) for so long by then: events at this time or later were
    not known.
    """
    was_known = time < observed * _JUST_BEFORE
    return np.where(was_known, kind, 0), np.where(was_known, time, observed)


def _read_times_alone(y: Any) -> SurvivalTargets:
    """Convert times of rows that all ended with an event."""
    if np.asarray(y).shape[1:] == (2,):
        raise ValueError(
            "An array of two columns does not show which one is the event; give y "
            "as the DataFrame of time_to_next(X, censored='keep'), or as the "
            "structured array of scikit-survival."
        )
    stored = stored_lengths(y)
    y = column_or_1d(y, warn=True)
    if y.dtype == bool:
        raise TypeError(
            "y has event indicators without times; give the DataFrame of "
            "time_to_next(X, censored='keep') with both."
        )
    time, in_days = _read_times(pd.Series(y))
    if "event" in stored.get("names", []) and _may_be_censored(time, in_days, stored):
        warn_user(
            "y has the times of time_to_next without its column 'event', so that the "
            "times of rows without an event, if there are any, count as those of "
            "events. Pass both columns, or y.to_numpy() if all rows have an event."
        )
    # Probably labels: times of only 0 and 1 are possible, but rare.
    if not in_days and np.array_equal(np.unique(time), [0, 1]):
        warn_user(
            "y has the values 0 and 1 alone, which are taken as times of the "
            "event. If they are labels, such as those of targets.churned, use "
            "targets.time_to_next(X, censored='keep'), which makes times."
        )
    return SurvivalTargets(np.ones(len(time), dtype="int64"), time, in_days)


def _may_be_censored(
    time: np.ndarray, in_days: bool, stored: Mapping[str, Any]
) -> bool:
    """Return whether times of `time_to_next` may be of rows without an event."""
    if stored.get("keeps_censored"):
        return True
    horizon = stored.get("horizon")
    if horizon is None:  # rows whose next event was not recorded are left out
        return False
    if isinstance(horizon, str):
        horizon = pd.Timedelta(horizon) / pd.Timedelta("1D")
        if not in_days:  # numbers of an unknown unit
            return True
    # Windows end before the horizon, which is the time of rows without an event.
    return bool((time >= horizon * _JUST_BEFORE).any())


def _name_of_event(columns: dict[Any, pd.Series]) -> Any:
    """Return which of two columns holds the events, by type, name, then type."""
    # Booleans are events. scikit-survival and others name the columns differently, and
    # times may be integers too: then only the name "event" decides.
    booleans = [name for name, one in columns.items() if one.dtype.kind == "b"]
    integers = [name for name, one in columns.items() if one.dtype.kind in "iu"]
    named = [name for name in columns if name == "event"]
    for names in (booleans, named, integers):
        if len(columns) == 2 and len(names) == 1:
            return names[0]
    found = ", ".join(f"{name!r} ({one.dtype})" for name, one in columns.items())
    raise ValueError(
        "y must have two columns: times, and events, which are booleans, whole numbers "
        "or a column of the name 'event'; got "
        f"{found or 'columns of the same name'}."
    )


def _read_kinds(event: pd.Series) -> np.ndarray:
    """Convert kinds of events; booleans become 0 and 1."""
    n_missing = int(event.isna().sum())
    if n_missing:
        raise ValueError(
            f"Input y contains NaN: for {n_missing} of {len(event)} rows, it is "
            "unknown whether there was an event. time_to_next(X, censored='keep') "
            "returns them as censored; or drop those rows from X and y."
        )
    try:
        numbers = event.to_numpy(dtype="float64")
    except (TypeError, ValueError) as error:
        raise TypeError(
            "Events in y must be booleans, or whole numbers for their kinds; got the "
            f"type {event.dtype}."
        ) from error
    # Competing risks: kind 1, 2, ...; 0 is censored.
    wrong = (numbers < 0) | (numbers != np.floor(numbers)) | np.isinf(numbers)
    if wrong.any():
        raise ValueError(
            "Events in y must be 0 if censored and 1, 2, ... for their kinds; "
            f"{wrong.sum()} of {len(numbers)} are other values, such as "
            f"{numbers[wrong][0]:g}."
        )
    return numbers.astype("int64")


def _read_times(time: pd.Series) -> tuple[np.ndarray, bool]:
    """Convert times to numbers, durations to days; return whether they were those."""
    numbers, in_days = as_floats(time, "The times in y")
    if not len(numbers):
        raise ValueError("y has no times (n_samples=0); fit on at least one row.")
    for what, wrong, way in (
        ("contains NaN", np.isnan(numbers), "are missing; drop those rows from X and"),
        ("contains infinity", np.isinf(numbers), "are infinite; drop those from X and"),
        ("is negative", numbers < 0, "lie before the cutoff; drop those from X and"),
    ):
        if wrong.any():
            raise ValueError(
                f"Input y {what}: {wrong.sum()} of {len(numbers)} times {way} y."
            )
    return numbers, in_days
