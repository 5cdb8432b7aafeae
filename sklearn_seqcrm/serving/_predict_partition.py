"""Predictions for the customers of one partition of a table of events."""

from __future__ import annotations

import sys
import time as clock
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline

from sklearn_seqcrm._encoding import learned_encoding
from sklearn_seqcrm._store import check_flag
from sklearn_seqcrm._typing import Duration, Estimator, Time
from sklearn_seqcrm.events import EventLog

_METHODS = ["predict", "predict_proba", "decision_function"]
# Estimators whose parameters are fitted themselves, without a clone.
_FITTED_PARAMETERS = (FeatureUnion, FrozenEstimator, Pipeline)


def predict_partition(
    events: pd.DataFrame | Iterable[pd.DataFrame],
    rows: pd.DataFrame | None = None,
    *,
    model: Estimator,
    customer: str,
    time: str,
    cutoff: Time,
    lookback: Duration | None = None,
    allow_exact_matches: bool = False,
    name: str = "history",
    fields: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    observed_until: Time | None = None,
    method: Literal["predict", "predict_proba", "decision_function"] = "predict",
    time_zone: str | None = "UTC",
) -> pd.DataFrame:
    """Predict for the customers of one partition, from a table of their events.

    It takes and returns pandas tables, for any system that partitions a table of events
    by customer: Dask's ``map_partitions``, Spark's ``mapInPandas``, or a loop over
    files.

    Parameters
    ----------
    events : DataFrame, or iterable of DataFrames
        All events of some customers, in any order: a partition, or its pieces as
        ``mapInPandas`` passes them.
    rows : DataFrame of shape (n, n_columns) or None, default=None
        Rows of the same customers, with the statics that the model reads. None: one row
        for each customer with an event before `cutoff`.
    model : estimator
        A fitted pipeline that takes rows with one history column, or with that and the
        columns of `rows`.
    customer, time : str
        Columns of `events`; `rows` have `customer` as well.
    cutoff : str, datetime or number
        One time for all rows, or a column of `rows`.
    lookback : Timedelta, str or number, default=None
        As in `EventLog.attach`, the one that the model was fitted with.
    allow_exact_matches : bool, default=False
        As in `EventLog.attach`, as the model was fitted; only with `rows`.
    name : str, default="history"
        Name of the history column that the model was fitted on.
    fields, categorical, observed_until : object
        As in `EventLog`, the same for all partitions. A field of whole numbers that is
        not among `categorical` is a quantity.
    method : {"predict", "predict_proba", "decision_function"}, default="predict"
        Method of the model.
    time_zone : str or None, default="UTC"
        Time zone of the clock that naive times were read from when the model was
        trained, such as ``"Europe/Berlin"``. Times are not converted. They are compared
        with the session time zone in a task of Spark, which hands columns of type
        ``timestamp`` over as naive times of that zone. None: no comparison, as for
        columns of type ``timestamp_ntz``.

    Returns
    -------
    DataFrame of shape (n, 3) or (n, 2 + n_outputs)
        Customer, ``"cutoff"`` and ``"prediction"`` of each row. Several outputs are
        ``"prediction_0"`` and so on, or named by ``model.classes_``, such as
        ``"prediction_yes"``; where `predict_proba` returns a list of arrays, one for
        each of several labels, also by the number of the label: ``"prediction_0_yes"``.
        The index is that of `rows`. Without events and rows it has no rows, and the
        columns of one output or of a probability per class; for other numbers of
        outputs Dask needs a ``meta`` made from some rows.

    Raises
    ------
    AttributeError
        If the model has no such `method`.
    KeyError
        If a column is missing.
    TypeError
        If `events` is not a pandas DataFrame or an iterable of them, `rows` is not a
        pandas DataFrame, or `allow_exact_matches` is no boolean.
    ValueError
        If there are rows and no events at all, `customer` is the name of a column of
        the result, `method` is not one of the three, there is no `lookback` although
        one cut off the histories that the `HistoryEncoder` of a pipeline was fitted on,
        `allow_exact_matches` is True without `rows`, or naive times come from a Spark
        session whose time zone differs from `time_zone`. Also errors of `EventLog` and
        of the model.

    See Also
    --------
    sklearn_seqcrm.events.EventLog.open : A log larger than memory, on one machine.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.feature_extraction import RFMFeatures
    >>> from sklearn_seqcrm.serving import predict_partition
    >>> orders = pd.DataFrame({"who": list("aabbbc"), "day": range(6)})
    >>> X = EventLog(orders, "who", "day").snapshots([6])[["history"]]
    >>> model = make_pipeline(RFMFeatures(remainder="drop"), LinearRegression())
    >>> model = model.fit(X, [1.0, 2.0, 3.0])
    >>> some = orders[orders["who"] != "b"]
    >>> predict_partition(
    ...     some, model=model, customer="who", time="day", cutoff=6
    ... ).round(2)
      who  cutoff  prediction
    0   a       6         1.0
    1   c       6         3.0
    """
    if customer == "cutoff" or str(customer).startswith("prediction"):
        raise ValueError(
            f"The customer column is called {customer!r}, as a column of the result; "
            "rename it in events and rows."
        )
    if method not in _METHODS:
        raise ValueError(f"method must be one of {_METHODS}; got {method!r}.")
    if lookback is None:
        _refuse_model_with_lookback(model)
    check_flag(allow_exact_matches, "allow_exact_matches")
    if allow_exact_matches and rows is None:
        raise ValueError("allow_exact_matches=True needs rows with their cutoffs.")
    events = _joined(events)
    if not isinstance(rows, pd.DataFrame | None):
        raise TypeError(f"rows must be a pandas DataFrame; got {_type_of(rows)}.")
    table = events if rows is None else rows
    predict = getattr(model, method)  # here, as a partition without rows calls none
    if not len(events) and not len(table):
        return _nothing(table, customer, _names(model, None, method))
    if time_zone is not None:
        _check_spark_zone(events, time, time_zone)
    log = EventLog(
        events,
        customer,
        time,
        fields=fields,
        categorical=categorical,
        observed_until=observed_until,
    )
    if rows is None:
        X, keys = _known_customers(log, customer, cutoff, lookback, name)
    else:
        X = log.attach(rows, customer, cutoff, lookback, allow_exact_matches, name)
        cutoffs = X[name].array.cutoffs
        keys = pd.DataFrame({customer: rows[customer], "cutoff": cutoffs}, rows.index)
    if not len(X):
        return _nothing(table, customer, _names(model, None, method))
    # One column for each output, in the order of the model's classes if it has any.
    found = predict(X)
    if isinstance(found, list) and isinstance(_classes(model, method), list):
        found = np.hstack(found)  # an array of each of several labels
    found = np.asarray(found)
    found = found[:, None] if found.ndim == 1 else found
    names = _names(model, found.shape[1], method)
    return keys.assign(**dict(zip(names, found.T, strict=True)))


def _known_customers(
    log: EventLog, customer: str, cutoff: Any, lookback: Any, name: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return histories, ids and cutoffs of customers with an event before a cutoff."""
    # A partition may have no event before the cutoff.
    X = log.snapshots([cutoff], min_events=0, lookback=lookback, name=name)
    seen = X[name].array.rows
    # Also events before the lookback make a customer known.
    X = X[seen.stop > log.timeline.offsets[seen.identities]]
    return X[[name]], X[[customer, "cutoff"]]


def _refuse_model_with_lookback(model: Any) -> None:
    """Raise a ValueError if an encoder was fitted on histories of a lookback.

    The encoder may be a step of a pipeline in a search, one of the models of a
    meta-learner, and so on.
    """
    parts, seen = [model], set()
    while parts:
        part = parts.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        learned = learned_encoding(part)
        if learned is None:
            parts += _fitted_parts(part)
        elif learned.cut_off:
            raise ValueError(
                f"The histories in {learned.cut_off} were cut off by a lookback in "
                "fit; pass the same lookback."
            )


def _fitted_parts(part: Any) -> Iterable[Any]:
    """Return the values of a container, or the fitted attributes of an object."""
    if isinstance(part, dict):
        return part.values()
    if isinstance(part, list | tuple):
        return part
    if isinstance(part, type) or not hasattr(part, "__dict__"):
        return ()
    unused = {"scorer_"}  # of a search: may have its parameter `estimator`
    # Other parameters are cloned, and so may have been fitted on other histories.
    if hasattr(part, "get_params") and not isinstance(part, _FITTED_PARAMETERS):
        unused |= part.get_params(deep=False).keys()
    return [value for name, value in vars(part).items() if name not in unused]


def _joined(events: Any) -> pd.DataFrame:
    """Return a DataFrame as it is, and an iterable of them concatenated.

    No pieces give an empty table; anything else is a TypeError.
    """
    # mapInPandas of Spark hands a partition over in pieces.
    are_pieces = isinstance(events, Iterable) and not isinstance(events, pd.DataFrame)
    # Tables of other libraries iterate over their columns.
    is_table = hasattr(events, "columns")
    pieces = list(events) if are_pieces and not is_table else [events]
    other = [piece for piece in pieces if not isinstance(piece, pd.DataFrame)]
    if other:
        raise TypeError(
            "events must be a pandas DataFrame or an iterable of them; got "
            f"{_type_of(other[0])}. Most libraries convert theirs by .to_pandas()."
        )
    # Empty pieces may have other dtypes, which concat would widen.
    filled = [piece for piece in pieces if len(piece)] or pieces[:1]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def _type_of(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__name__}"


def _check_spark_zone(events: pd.DataFrame, time: str, expected: str) -> None:
    """Raise a ValueError for naive times that Spark converted to another time zone.

    The zone of the session is a property of the task. Neither the DataFrame nor its
    schema records the zone of naive times.
    """
    spark = sys.modules.get("pyspark")
    task = None if spark is None else spark.TaskContext.get()
    naive = time in events and events[time].dtype.kind == "M"
    if task is None or not naive or isinstance(events[time].dtype, pd.DatetimeTZDtype):
        return
    session = task.getLocalProperty("spark.sql.session.timeZone")
    # Offsets of the hours that occur: zones may agree only in winter.
    hours = pd.DatetimeIndex(events[time].dropna().dt.floor("h").unique())
    shifts = _utc_offsets(hours, session) - _utc_offsets(hours, expected)
    if not shifts.any():
        return
    zone = "the zone of the machine" if session is None else repr(session)
    largest = shifts[np.abs(shifts).argmax()] / 3600
    raise ValueError(
        f"Spark hands column {time!r} over as naive times in its session time zone, "
        f"{zone}, but time_zone={expected!r}: events are shifted by up to {largest:+g} "
        f"hours. Set 'spark.sql.session.timeZone' to {expected!r}. If the model was "
        "trained on times of the session's zone, pass that as time_zone; if the column "
        "is of type timestamp_ntz, pass None."
    )


def _utc_offsets(times: pd.DatetimeIndex, zone: str | None) -> np.ndarray:
    """Return UTC offsets of a zone in seconds, (n,); None: zone of the machine."""
    if zone is None:
        # Spark's default, which is not among the properties of a task.
        seconds = (times - pd.Timestamp(0)) // pd.Timedelta(seconds=1)
        return np.array([clock.localtime(s).tm_gmtoff for s in seconds], dtype="int64")
    local = times.tz_localize("UTC").tz_convert(zone).tz_localize(None)
    return np.asarray((local - times) // pd.Timedelta(seconds=1), dtype="int64")


def _classes(model: Any, method: str) -> Any:
    """Return the classes of probabilities, or of each of several labels; or None."""
    return getattr(model, "classes_", None) if method == "predict_proba" else None


def _names(model: Any, n_outputs: int | None, method: str) -> list[str]:
    """Return names of the outputs; with n_outputs=None those of an empty result."""
    classes = _classes(model, method)
    if isinstance(classes, list):  # of each of several labels
        each = enumerate(classes)
        classes = np.array([f"{i}_{label}" for i, own in each for label in own])
    elif isinstance(classes, np.ndarray) and classes.ndim == 2:  # of several labels
        classes = np.arange(len(classes))
    # Without rows the number of outputs is unknown: assume one for each class.
    if isinstance(classes, np.ndarray) and n_outputs in (None, len(classes)):
        return [f"prediction_{label}" for label in classes]
    if n_outputs in (None, 1):
        return ["prediction"]
    return [f"prediction_{i}" for i in range(n_outputs)]


def _nothing(table: pd.DataFrame, customer: str, names: list[str]) -> pd.DataFrame:
    """Return the result for a partition without customers."""
    ids = table[customer] if customer in table else pd.Series(dtype=object)
    empty = {customer: ids[:0], "cutoff": pd.Series(dtype=object)}
    return pd.DataFrame({**empty, **{name: pd.Series(dtype=float) for name in names}})
