"""The three forms of X that the estimators take, read into rows for a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from sklearn_seqcrm._columns import (
    ColumnRoles,
    Cutoffs,
    Table,
    cutoffs_of,
    has_histories,
    numbers_of,
    refuse_repeated_columns,
    row_customers,
    static_type_of,
)
from sklearn_seqcrm._durations import as_floats, refuse_new_durations
from sklearn_seqcrm._encoding import EncodedLog
from sklearn_seqcrm._ragged import is_run_start, starts_of_nonempty
from sklearn_seqcrm._recurrent.data._padded_histories import PaddedHistories, unpad
from sklearn_seqcrm._recurrent.data._rows import RowData
from sklearn_seqcrm._recurrent.data._sources import (
    HistorySource,
    HistorySpec,
    join_moments,
)
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.events import HistoryArray

_LARGEST_STATIC = 1e18
_PIPELINE = "make_history_pipeline({estimator}(...)).fit(X, y)"


class Inputs(NamedTuple):
    """Rows of X in the form that networks take."""

    data: RowData  # rows, at first without targets and weights
    specs: tuple[HistorySpec, ...]  # one for each history column
    names: tuple[str, ...]  # of the history columns
    # Returns numbers (n,), int64, equal for rows of a customer. A callable, because
    # prediction does not need them.
    customers: Callable[[], np.ndarray]
    # Whether an encoder made the codes, so that their numbers are known.
    encoded: bool = True
    # Clock of the cutoffs of each history column; none for tensors and arrays.
    clocks: tuple[Clock, ...] = ()
    # First moment that the log of each history column has not observed; None for
    # histories that were joined from several logs.
    ends: tuple[Any, ...] = ()
    # Targets before the objective encodes them, if rows may be censored later.
    labels: np.ndarray | None = None

    @property
    def cutoffs(self) -> list[Cutoffs]:
        """Cutoffs of the rows in each history column, if these have cutoffs."""
        return [
            Cutoffs(clock, source.cutoff, end)
            for clock, end, source in zip(
                self.clocks, self.ends, self.data.sources, strict=False
            )
        ]

    @property
    def n_columns(self) -> int:
        """Number of row features, statics and sums."""
        static, sums = self.data.static, self.data.sums
        return static.shape[1] + (0 if sums is None else sums.shape[1])

    def take(self, rows: np.ndarray) -> Inputs:
        """Return the inputs of some rows, whose customers are numbered anew."""
        customers, labels = self.customers, self.labels
        return self._replace(
            data=self.data.take(rows),
            # Customers are drawn for validation by numbers in the order of appearance.
            customers=lambda: pd.factorize(customers()[rows])[0],
            labels=None if labels is None else labels[rows],
        )

    def within(self, specs: Sequence[HistorySpec]) -> Inputs:
        """Return the rows, with 0 (unseen) for codes that `specs` do not have."""
        sources = tuple(
            source.within(spec.n_levels)
            for source, spec in zip(self.data.sources, specs, strict=True)
        )
        return self._replace(data=replace(self.data, sources=sources))


def read_inputs(estimator: Any, X: Any, *, reset: bool, sums: bool = False) -> Inputs:
    """Read encoded histories with statics, padded tensors, or an array of statics.

    Sets (`reset`, in `fit`) or checks ``n_features_in_`` and ``feature_names_in_`` of
    the estimator. `sums`: also read the sums of the histories. A TypeError is raised
    for raw histories and statics that are not numeric, a ValueError for statics that
    are not finite and for other columns than in `fit`.
    """
    if isinstance(X, dict) and not issparse(X):  # a dok_matrix is both
        if reset:
            _forget_columns(estimator)
        return _read_padded(X, sums)
    if has_histories(X):
        return _read_frame(estimator, X, reset, sums)
    # Only statics: anything that scikit-learn takes as a 2-D array.
    if isinstance(X, pd.DataFrame):
        refuse_repeated_columns(X)
        _keep_exposure_unit(estimator, X, reset)
        _refuse_text(X, estimator)
        if any(dtype.kind not in "biuf" for dtype in X.dtypes):
            X = pd.DataFrame(numbers_of(X), X.index, X.columns)
    if reset:
        _forget_columns(estimator)
    X = validate_data(estimator, X, dtype=np.float32, reset=reset)
    return Inputs(RowData((), X), (), (), partial(np.arange, len(X)))


def refuse_untrainable(estimator: Any, inputs: Inputs) -> None:
    """Raise a ValueError for statics that are too large to be trained on.

    Gradients are proportional to the statics, and their squares must be finite in
    float32. `estimator` is that which has read `inputs`.
    """
    counts = (np.abs(inputs.data.static) > _LARGEST_STATIC).sum(axis=0)
    if not counts.any():
        return
    names: Sequence[Any] = getattr(estimator, "feature_names_in_", range(len(counts)))
    if hasattr(estimator, "_roles"):
        names = [*estimator._roles.statics]
    # Row features come before statics. Of an exposure, the logarithm is the input.
    exposure = getattr(estimator, "exposure", None)
    own = counts[len(counts) - len(names) :]
    own = own * np.array([name != exposure for name in names], dtype=bool)
    _refuse_counts(
        names,
        own,
        f"values beyond {_LARGEST_STATIC:g}, on which no network can be trained",
        "make_history_pipeline scales them; else clip them, or leave those rows out",
    )


def warn_if_all_empty(inputs: Inputs) -> None:
    """Warn of history columns without any event."""
    for name, source in zip(inputs.names, inputs.data.sources, strict=True):
        if not (source.stop > source.start).any():
            warn_user(
                f"All {len(source.start)} histories in {name!r} are empty, so that the "
                "model learns from statics alone. Do the customers and cutoffs of the "
                "rows fit those of the log?"
            )


def _read_frame(estimator: Any, X: Any, reset: bool, sums: bool) -> Inputs:
    # A fit on padded tensors has no columns to compare with.
    roles = None if reset else getattr(estimator, "_roles", None)
    if roles is None:
        X = Table.of(X)
        roles = ColumnRoles.of(X)
    if reset:
        roles.set_names(X.frame, estimator)
    table = roles.select(X, estimator).refuse_no_rows(type(estimator).__name__)
    if reset:
        estimator._roles = roles
    for name, array in table.histories.items():
        _refuse_raw(array, name, estimator)
    table.refuse_missing()
    arrays = list(table.histories.values())
    row_features, of_histories = _row_features(arrays, sums)
    # X[names] takes three times as long, a sixth of scoring a row.
    place = table.frame.columns.get_indexer(
        pd.Index([*roles.statics], tupleize_cols=False)
    )
    statics = table.frame.take(place, axis=1)
    _keep_exposure_unit(estimator, statics, reset)
    _refuse_text(statics, estimator)
    values = static_values(statics, getattr(estimator, "exposure", None))
    # Row features of all histories come first, then statics in the order of X.
    static = np.concatenate([*row_features, values], axis=1)
    sources = tuple(history_source(array) for array in arrays)
    return Inputs(
        RowData(sources, static, sums=of_histories),
        tuple(HistorySpec.of(array.log.layout) for array in arrays),
        roles.histories,
        partial(row_customers, arrays),
        clocks=tuple(array.log.timeline.clock for array in arrays),
        ends=tuple(cutoffs_of(array).end for array in arrays),
    )


def _row_features(
    arrays: Sequence[HistoryArray], sums: bool
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Return the row features of each history column and, with `sums`, all sums."""
    if not sums:
        return [array.log.row_features(array.rows) for array in arrays], None
    found = [array.log.row_features_and_sums(array.rows) for array in arrays]
    features, of_histories = zip(*found, strict=True)
    return list(features), np.concatenate(of_histories, axis=1)


def _read_padded(X: dict[str, Any], sums: bool) -> Inputs:
    """Read padded tensors, with or without a layout, into ragged rows.

    They are ``values`` (n, T, F), ``lengths`` (n,), and optionally ``codes`` (n, T, C)
    and ``static`` (n, S), padded after the events. With several histories, all keys but
    ``static`` have a prefix: ``"orders_values"``.
    """
    tensors = {key: np.asarray(X[key]) for key in X}
    prefixes = _prefixes_of(tensors)
    # Tensors of HistoryPadder hold the layout of their encoder; plain dicts do not.
    beside = X if isinstance(X, PaddedHistories) else PaddedHistories()
    found = [unpad(tensors, prefix, beside) for prefix in prefixes]
    sources, specs = zip(*found, strict=True)
    static = _padded_static(tensors, len(sources[0].start))
    # In the order of appearance, which a selection of rows may have changed.
    own = beside.customers
    customers = np.arange(len(static)) if own is None else pd.factorize(own)[0]
    return Inputs(
        RowData(sources, static, sums=beside.sums if sums else None),
        specs,
        tuple(prefix.removesuffix("_") for prefix in prefixes),
        lambda: customers,
        encoded=beside.layout is not None,
    )


def _prefixes_of(tensors: dict[str, np.ndarray]) -> list[str]:
    """Return the prefix of the keys of each history; check keys and numbers of rows."""
    prefixes = [key.removesuffix("values") for key in tensors if key.endswith("values")]
    allowed = [f"{p}{key}" for p in prefixes for key in ("values", "codes", "lengths")]
    unknown = [key for key in tensors if key not in [*allowed, "static"]]
    if not prefixes or unknown:
        raise ValueError(
            "Padded tensors are 'values' (n, T, F), 'lengths' (n,) and, if there are "
            "any, 'codes' (n, T, C) and 'static' (n, S), each but the last with the "
            f"name of its history before it if there are several; got {list(tensors)}."
            " HistoryPadder makes them."
        )
    scalars = [key for key, tensor in tensors.items() if not tensor.ndim]
    if scalars:
        raise ValueError(f"Padded tensors need an axis of rows; {scalars} have none.")
    n_rows = len(tensors[f"{prefixes[0]}values"])
    uneven = {key: len(tensor) for key, tensor in tensors.items()}
    if set(uneven.values()) != {n_rows}:
        raise ValueError(f"Padded tensors differ in their number of rows: {uneven}.")
    if not n_rows:
        raise ValueError("X has no rows; at least one is needed.")
    return prefixes


def _padded_static(tensors: dict[str, np.ndarray], n_rows: int) -> np.ndarray:
    """Return the statics beside padded histories, (n, S), float32, all finite."""
    static = tensors.get("static", np.zeros((n_rows, 0))).astype("float32")
    if static.ndim != 2:
        raise ValueError(f"'static' must have the shape (n, S); got {static.shape}.")
    if not np.isfinite(static).all():
        n_bad = int((~np.isfinite(static)).sum())
        raise ValueError(f"'static' has {n_bad} missing or infinite values; fill them.")
    return static


def _forget_columns(estimator: Any) -> None:
    """Delete the column attributes of an earlier fit on another form of X."""
    for name in ("n_features_in_", "feature_names_in_", "_roles"):
        if hasattr(estimator, name):
            delattr(estimator, name)


def history_source(array: HistoryArray) -> HistorySource:
    """Return the steps behind encoded histories, and the rows' views of them."""
    rows, log = array.rows, array.log
    start, stop = np.maximum(rows.start, 0), np.maximum(rows.stop, 0)
    layout, times = log.layout, log.timeline.times
    source = HistorySource(
        log.channels,
        log.codes,
        times,
        start,
        stop,
        rows.cutoff,
        layout.time_unit,
        layout.interarrival_channel,
    )
    if layout.moments is None:
        return source
    moments = _moments_of(log, start, stop)
    spec = HistorySpec.of(layout)
    return join_moments(source, *moments, spec, at_once=not log.is_on_disk)


def _moments_of(
    log: EncodedLog, start: np.ndarray, stop: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first event of each moment of a log, and the first event after it.

    The layout defines moments. Row ``i`` sees the events ``start[i]:stop[i]``.
    """
    timeline, offsets = log.timeline, log.timeline.offsets
    periods = log.layout.periods(timeline.times)
    begin = np.flatnonzero(is_run_start(periods, starts_of_nonempty(offsets)))
    end = np.append(begin, len(periods))[1:]
    # A log on a disk has events that no row sees. A moment ends with the last one
    # that a row of the customer sees: later events change nothing.
    filled = stop > start
    last = np.full(len(offsets), -1)
    customer = timeline.codes_of(stop[filled] - 1)
    np.maximum.at(last, customer, stop[filled])
    first = np.full(len(offsets), len(periods))
    np.minimum.at(first, customer, start[filled])
    own = timeline.codes_of(begin)
    first, last = first[own], last[own]
    end = np.where((begin < last) & (last < end), last, end)
    begin = np.where((begin < first) & (first < end), first, begin)
    return begin, end


def static_values(statics: pd.DataFrame, exposure: Any) -> np.ndarray:
    """Return numbers, booleans or durations as float32, shape (n, S).

    `exposure` is the name of the exposure column, or None. A ValueError names the
    columns with values that are missing or too large.
    """
    values = numbers_of(statics)
    if exposure is not None and exposure in statics.columns:
        exposures = values[:, statics.columns.get_loc(exposure)]
        if n_missing := int(np.isnan(exposures).sum()):
            raise ValueError(
                f"Exposures must be known; {n_missing} of {len(values)} in "
                f"{exposure!r} are missing or infinite. Leave those rows out."
            )
    # Errors count bad values by column, before and after the cast to float32.
    _refuse_counts(
        statics.columns,
        np.isnan(values).sum(axis=0),
        "missing or infinite values",
        "make_history_pipeline imputes them, or fill them before",
    )
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite
        values = values.astype("float32")
    _refuse_counts(
        statics.columns,
        np.isinf(values).sum(axis=0),
        "values beyond the range of float32, 3e38",
        "Clip them, or leave those rows out",
    )
    return values


def _refuse_counts(
    names: Iterable[Any], counts: np.ndarray, what: str, way: str
) -> None:
    """Raise a ValueError for columns with a count of bad values above 0.

    It names `what` is counted, and the `way` out.
    """
    if counts.any():
        pairs = zip(names, counts, strict=True)
        found = ", ".join(f"{name!r} ({n})" for name, n in pairs if n)
        raise ValueError(f"Columns have {what} (count): {found}. {way}.")


def _keep_exposure_unit(estimator: Any, statics: pd.DataFrame, reset: bool) -> None:
    """Store whether exposures are durations; refuse durations after numbers."""
    name = getattr(estimator, "exposure", None)
    if name is None or name not in statics.columns:
        return
    _, in_days = as_floats(statics[name], f"The exposure {name!r}")
    if reset:
        estimator._exposure_in_days = in_days
        return
    # After a fit on padded tensors, the unit is unknown.
    known = getattr(estimator, "_exposure_in_days", True)
    refuse_new_durations(in_days, known, f"The exposures {name!r}")


def _refuse_raw(array: HistoryArray, name: str, estimator: Any) -> None:
    if not isinstance(array.log, EncodedLog):
        line = _PIPELINE.format(estimator=type(estimator).__name__)
        raise TypeError(
            f"The histories in {name!r} are raw events, and a network reads encoded "
            f"ones. Write {line}, or put HistoryEncoder() before it in your pipeline."
        )


def _refuse_text(statics: pd.DataFrame, estimator: Any) -> None:
    """Raise a TypeError for text, categories and datetimes."""
    text = [
        f"{name!r} ({dtype})"
        for i, (name, dtype) in enumerate(statics.dtypes.items())
        # Selecting each of hundreds of columns would double the time to score a row.
        if dtype.kind not in "biuf" and _holds_others(statics.iloc[:, i])
    ]
    if text:
        line = _PIPELINE.format(estimator=type(estimator).__name__)
        raise TypeError(
            f"Columns that are no numbers: {', '.join(text)}. Write {line}, which "
            "encodes them, or drop or encode them before."
        )


def _holds_others(column: pd.Series) -> bool:
    """Return whether a column has values that are not numeric."""
    return static_type_of(column) != "numeric" and bool(column.notna().any())
