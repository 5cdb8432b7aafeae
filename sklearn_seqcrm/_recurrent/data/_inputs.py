"""The three forms of X that the estimators take, read into rows for a network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data
from skorch.helper import SliceDict

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
from sklearn_seqcrm._recurrent.data._rows import RowData
from sklearn_seqcrm._recurrent.data._sources import (
    HistorySource,
    HistorySpec,
    Steps,
    change_all,
    join_moments,
)
from sklearn_seqcrm._stacklevel import user_stacklevel
from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.events import HistoryArray

# Half-lives in numbers of events, for tensors without times.
_HALF_LIVES = (1.0, 4.0, 16.0, 64.0)
_TENSORS = ("values", "codes", "lengths")


class PaddedHistories(SliceDict):
    """Padded tensors of `HistoryPadder` with their layout, customers and sums.

    Selecting rows selects customers, sums and moments as well.

    Parameters
    ----------
    **tensors : ndarray
        ``values``, ``codes``, ``lengths``, ``static``; see `HistoryPadder`.

    Attributes
    ----------
    layout : dict of str to HistorySpec, or None
        Sizes of each history, by the prefix of its keys. None: those of the tensors.
    padding : {"post", "pre"}
        Position of the padding.
    customers : ndarray of shape (n,), int64, or None
        Number of the customer of each row. None: each row has its own.
    sums : ndarray of shape (n, n_sums), float32, or None
        Sums of the histories, for the linear part of a network.
    moments : dict of str to ndarray of shape (n, T), int64
        By the prefix of the keys, number of the moment of each event of a row;
        histories whose events are steps have none.
    """

    layout: dict[str, HistorySpec] | None = None
    padding: str = "post"
    customers: np.ndarray | None = None
    sums: np.ndarray | None = None
    moments: Mapping[str, np.ndarray] = MappingProxyType({})

    def __getitem__(self, rows: Any) -> Any:
        """Return the tensor of a name, or some rows of all tensors.

        ``"moments"`` is no tensor that a network gets as an input, but an input of
        exported graphs.
        """
        if isinstance(rows, str) and rows.endswith("moments"):
            prefix = rows.removesuffix("moments")
            if prefix in self.moments:
                return self.moments[prefix]
        selected = super().__getitem__(rows)
        if isinstance(selected, PaddedHistories):
            selected.layout, selected.padding = self.layout, self.padding
            columns = self.customers, self.sums
            selected.customers, selected.sums = change_all(columns, lambda a: a[rows])
            selected.moments = {key: one[rows] for key, one in self.moments.items()}
        return selected

    def copy(self) -> PaddedHistories:
        """Return a shallow copy; that of SliceDict would lose the layout."""
        return self[:]


def _read_padded(X: dict[str, Any], sums: bool) -> Inputs:
    """Read padded tensors, with or without a layout, into ragged rows.

    Parameters
    ----------
    X : dict of ndarray or Tensor
        ``values`` (n, T, F), ``lengths`` (n,), and optionally ``codes`` (n, T, C) and
        ``static`` (n, S), padded after the events. With several histories, all keys
        but ``static`` have a prefix: ``"orders_values"``.
    sums : bool
        Whether to read the sums of the histories.
    """
    tensors = {key: np.asarray(X[key]) for key in X}
    prefixes = [key.removesuffix("values") for key in tensors if key.endswith("values")]
    allowed = [f"{prefix}{key}" for prefix in prefixes for key in _TENSORS]
    unknown = [key for key in tensors if key not in [*allowed, "static"]]
    if not prefixes or unknown:
        raise ValueError(
            "Padded tensors are 'values' (n, T, F), 'lengths' (n,) and, if there are "
            "any, 'codes' (n, T, C) and 'static' (n, S), each but the last with the "
            f"name of its history before it if there are several; got {list(tensors)}."
            " HistoryPadder makes them."
        )
    n_rows = len(tensors[f"{prefixes[0]}values"])
    uneven = {key: len(tensor) for key, tensor in tensors.items()}
    if set(uneven.values()) != {n_rows}:
        raise ValueError(f"Padded tensors differ in their number of rows: {uneven}.")
    if not n_rows:
        raise ValueError("X has no rows; at least one is needed.")
    # Tensors of HistoryPadder hold the layout of their encoder; plain dicts do not.
    beside = X if isinstance(X, PaddedHistories) else PaddedHistories()
    found = [_unpad(tensors, prefix, beside) for prefix in prefixes]
    static = tensors.get("static", np.zeros((n_rows, 0))).astype("float32")
    if static.ndim != 2:
        raise ValueError(f"'static' must have the shape (n, S); got {static.shape}.")
    if not np.isfinite(static).all():
        n_bad = int((~np.isfinite(static)).sum())
        raise ValueError(f"'static' has {n_bad} missing or infinite values; fill them.")
    sources, specs = zip(*found, strict=True)
    # In the order of appearance, which a selection of rows may have changed.
    own = beside.customers
    customers = np.arange(n_rows) if own is None else pd.factorize(own)[0]
    return Inputs(
        RowData(sources, static, sums=beside.sums if sums else None),
        specs,
        tuple(prefix.removesuffix("_") for prefix in prefixes),
        lambda: customers,
        encoded=beside.layout is not None,
    )


def _unpad(
    tensors: dict[str, np.ndarray], prefix: str, beside: PaddedHistories
) -> tuple[HistorySource, HistorySpec]:
    """Return one history, flattened to its events, and its sizes.

    `beside` has the layout and the moments.
    """
    values = tensors[f"{prefix}values"]
    if values.ndim != 3:
        raise ValueError(
            f"'{prefix}values' must have the shape (n, T, F); got {values.shape}."
        )
    n_rows, n_steps = values.shape[:2]
    lengths = tensors.get(f"{prefix}lengths")
    if lengths is None or lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise ValueError(f"'{prefix}lengths' must have one integer for each row.")
    lengths = lengths.astype("int64")
    if lengths.min() < 0 or lengths.max() > n_steps:
        raise ValueError(
            f"'{prefix}lengths' must lie between 0 and {n_steps}, the number of steps; "
            f"got {lengths.min()} to {lengths.max()}."
        )
    # (n, T), True for events.
    step = np.arange(n_steps)
    real = step < lengths[:, None]
    if beside.padding == "pre":
        real = real[:, ::-1]
    codes = tensors.get(f"{prefix}codes", np.zeros((n_rows, n_steps, 0), "int64"))
    if codes.ndim != 3 or codes.shape[:2] != values.shape[:2]:
        raise ValueError(
            f"'{prefix}codes' must have the shape ({n_rows}, {n_steps}, C), like "
            f"'{prefix}values'; got {codes.shape}."
        )
    channels, given = values[real].astype("float32"), codes[real]
    n_bad = int((~np.isfinite(channels)).sum())
    if n_bad:
        raise ValueError(
            f"'{prefix}values' has {n_bad} missing or infinite values; fill them."
        )
    with np.errstate(invalid="ignore"):  # NaN and numbers beyond int32
        codes = given.astype("int32")
    if n_other := int((codes != given).sum()):
        raise ValueError(
            f"'{prefix}codes' has {n_other} values that are not integers up to "
            f"{np.iinfo('int32').max}."
        )
    if codes.size and codes.min() < 0:
        raise ValueError(
            f"'{prefix}codes' has {(codes < 0).sum()} negative codes; 0 is the "
            "code of unknown levels."
        )
    # Rows share no events here: row i has the flat events stop[i - 1]:stop[i].
    stop = np.cumsum(lengths, dtype="int64")
    start = stop - lengths
    # The last channel of padded tensors is log(1 + age in typical interarrival times).
    # Without it, the age of an event is the number of later events.
    known = None if beside.layout is None else beside.layout[prefix.removesuffix("_")]
    if known is not None:
        ages = np.expm1(channels[:, -1].astype("float64"))
        channels = np.ascontiguousarray(channels[:, :-1])
    else:
        ages = np.repeat(stop, lengths) - 1.0 - np.arange(len(channels))
    n_levels = tuple(int(column.max(initial=1)) + 1 for column in codes.T)
    spec = HistorySpec(channels.shape[1], n_levels, _HALF_LIVES)
    source = HistorySource(channels, codes, -ages, start, stop, np.zeros(n_rows))
    if known is None or known.moments is None:
        return source, known or spec
    moments = beside.moments[prefix][real]
    is_begin = is_run_start(moments, starts_of_nonempty(np.append(0, stop)))
    begin = np.flatnonzero(is_begin)
    end = np.append(begin, len(is_begin))[1:]
    return join_moments(source, Steps.of_moments(begin, end, start, stop), known), known


_LARGEST_STATIC = 1e18
_PIPELINE = "make_history_pipeline({estimator}(...)).fit(X, y)"


class Inputs(NamedTuple):
    """Rows of X in the form that networks take.

    Parameters
    ----------
    data : RowData
        Rows, at first without targets and weights.
    specs : tuple of HistorySpec
        Shape of each history column.
    names : tuple of str
        Names of the history columns.
    customers : callable
        Returns a number for each row, shape (n,), int64, equal for rows of a customer.
        It is a callable because prediction does not need it.
    encoded : bool, default=True
        Whether an encoder made the codes, so that their numbers are known.
    clocks : tuple of Clock, default=()
        Clock of the cutoffs of each history column; none for tensors and arrays.
    ends : tuple of int, float or None, default=()
        First moment that the log of each history column has not observed; None for
        histories that were joined from several logs.
    labels : ndarray of n rows or None, default=None
        Targets before the objective encodes them, if rows may be censored later.
    """

    data: RowData
    specs: tuple[HistorySpec, ...]
    names: tuple[str, ...]
    customers: Callable[[], np.ndarray]
    encoded: bool = True
    clocks: tuple[Clock, ...] = ()
    ends: tuple[Any, ...] = ()
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
    def n_sums(self) -> int:
        """Number of sums of the histories."""
        sums = self.data.sums
        return 0 if sums is None else sums.shape[1]

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
    """Read X in any of its three forms.

    Parameters
    ----------
    estimator : estimator
        Estimator whose `n_features_in_` and `feature_names_in_` are set or checked.
    X : DataFrame, padded tensors, or array of shape (n, n_columns)
        Encoded histories with numeric statics, the result of `HistoryPadder`, or
        statics alone.
    reset : bool
        True in `fit`.
    sums : bool, default=False
        Whether to read the sums of the histories.

    Returns
    -------
    Inputs
        Rows, shapes and customers.

    Raises
    ------
    TypeError
        If histories are raw, or a static is not numeric.
    ValueError
        If a static is not finite, or columns differ from `fit`.
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
    float32.

    Parameters
    ----------
    estimator : estimator
        Estimator that read `inputs`.
    inputs : Inputs
        Rows as `read_inputs` returns them.
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
    if own.any():
        raise ValueError(
            f"Columns have values beyond {_LARGEST_STATIC:g}, on which no network can "
            f"be trained (count): {_list_counts(names, own)}. make_history_pipeline "
            "scales them; else clip them, or leave those rows out."
        )


def warn_if_all_empty(inputs: Inputs) -> None:
    """Warn of history columns without any event."""
    for name, source in zip(inputs.names, inputs.data.sources, strict=True):
        if not (source.stop > source.start).any():
            warnings.warn(
                f"All {len(source.start)} histories in {name!r} are empty, so that the "
                "model learns from statics alone. Do the customers and cutoffs of the "
                "rows fit those of the log?",
                UserWarning,
                stacklevel=user_stacklevel(),
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
    # Row features of all histories come first, then statics in the order of X.
    arrays = list(table.histories.values())
    of_histories = None
    if sums:
        found = [array.log.row_features_and_sums(array.rows) for array in arrays]
        columns = [features for features, _ in found]
        of_histories = np.concatenate([one for _, one in found], axis=1)
    else:
        columns = [array.log.row_features(array.rows) for array in arrays]
    # X[names] takes three times as long, a sixth of scoring a row.
    place = table.frame.columns.get_indexer(
        pd.Index([*roles.statics], tupleize_cols=False)
    )
    statics = table.frame.take(place, axis=1)
    _keep_exposure_unit(estimator, statics, reset)
    _refuse_text(statics, estimator)
    columns.append(static_values(statics, getattr(estimator, "exposure", None)))
    sources = tuple(history_source(array) for array in arrays)
    return Inputs(
        RowData(sources, np.concatenate(columns, axis=1), sums=of_histories),
        tuple(HistorySpec.of(array.log.layout) for array in arrays),
        roles.histories,
        partial(row_customers, arrays),
        clocks=tuple(array.log.timeline.clock for array in arrays),
        ends=tuple(cutoffs_of(array).end for array in arrays),
    )


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
    steps = Steps.of(log, start, stop)
    spec = HistorySpec.of(layout)
    return join_moments(source, steps, spec, at_once=not log.is_on_disk)


def static_values(statics: pd.DataFrame, exposure: Any = None) -> np.ndarray:
    """Return numeric statics as float32, shape (n, S).

    Parameters
    ----------
    statics : DataFrame of shape (n, S)
        Numbers, booleans or durations.
    exposure : str or None, default=None
        Name of the exposure column, if there is one.
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
    missing = np.isnan(values).sum(axis=0)
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite
        values = values.astype("float32")
    beyond = np.isinf(values).sum(axis=0)
    for counts, what, way in (
        (
            missing,
            "missing or infinite values",
            "make_history_pipeline imputes them, or fill them before",
        ),
        (
            beyond,
            "values beyond the range of float32, 3e38",
            "clip them, or leave those rows out",
        ),
    ):
        if counts.any():
            found = _list_counts(statics.columns, counts)
            raise ValueError(f"Columns have {what} (count): {found}. {way}.")
    return values


def _list_counts(names: Iterable[Any], counts: np.ndarray) -> str:
    """Return the names of columns with a count above 0, and these counts."""
    pairs = zip(names, counts, strict=True)
    return ", ".join(f"{name!r} ({n})" for name, n in pairs if n)


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
