"""Padded tensors of histories, and their way back to ragged events."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from skorch.helper import SliceDict

from sklearn_seqcrm._ragged import is_run_start, starts_of_nonempty
from sklearn_seqcrm._recurrent.data._sources import (
    HistorySource,
    HistorySpec,
    join_moments,
)
from sklearn_seqcrm._recurrent.data._tensor_fields import change_all

# Half-lives in numbers of events, for tensors without times.
_HALF_LIVES = (1.0, 4.0, 16.0, 64.0)


class PaddedHistories(SliceDict):
    """Padded tensors of `HistoryPadder` with their layout, customers and sums.

    Selecting rows selects customers, sums and moments as well.
    """

    # Sizes of each history, by the prefix of its keys. None: those of the tensors.
    layout: dict[str, HistorySpec] | None = None
    padding: str = "post"  # or "pre"
    # (n,), int64: number of the customer of each row. None: each row has its own.
    customers: np.ndarray | None = None
    # (n, n_sums), float32: sums of the histories, for the linear part of a network.
    sums: np.ndarray | None = None
    # (n, T), int64, by the prefix of the keys: number of the moment of each event of a
    # row; histories whose events are steps have none.
    moments: Mapping[str, np.ndarray] = MappingProxyType({})

    def __getitem__(self, rows: Any) -> Any:
        """Return the tensor of a name, or some rows of all tensors.

        ``"moments"`` and ``"sums"`` are no tensors that a network gets as inputs, but
        inputs of exported graphs.
        """
        if isinstance(rows, str) and rows == "sums" and self.sums is not None:
            return self.sums
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


def unpad(
    tensors: dict[str, np.ndarray], prefix: str, beside: PaddedHistories
) -> tuple[HistorySource, HistorySpec]:
    """Return one history, flattened to its steps, and its sizes.

    `tensors` has ``values`` (n, T, F), ``lengths`` (n,) and perhaps ``codes``
    (n, T, C), with the `prefix` before these keys; `beside` has layout and moments.
    """
    values, codes, lengths = _check_shapes(tensors, prefix)
    real = np.arange(values.shape[1]) < lengths[:, None]  # (n, T), True for events
    if beside.padding == "pre":
        real = real[:, ::-1]
    channels, codes = _check_events(values[real], codes[real], prefix)
    # Rows share no events here: row i has the flat events stop[i - 1]:stop[i].
    stop = np.cumsum(lengths, dtype="int64")
    start = stop - lengths
    if beside.layout is None:
        # Without times, the age of an event is the number of later events.
        ages = np.repeat(stop, lengths) - 1.0 - np.arange(len(channels))
        n_levels = tuple(int(column.max(initial=1)) + 1 for column in codes.T)
        spec = HistorySpec(channels.shape[1], n_levels, _HALF_LIVES)
    else:
        # The last channel is log(1 + age in typical interarrival times).
        ages = np.expm1(channels[:, -1].astype("float64"))
        channels = np.ascontiguousarray(channels[:, :-1])
        spec = beside.layout[prefix.removesuffix("_")]
    source = HistorySource(channels, codes, -ages, start, stop, np.zeros(len(values)))
    if spec.moments is None:
        return source, spec
    moments = beside.moments[prefix][real]
    is_begin = is_run_start(moments, starts_of_nonempty(np.append(0, stop)))
    begin = np.flatnonzero(is_begin)
    end = np.append(begin, len(is_begin))[1:]
    return join_moments(source, begin, end, spec), spec


def _check_shapes(
    tensors: dict[str, np.ndarray], prefix: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values, codes and lengths; a ValueError if their shapes do not fit."""
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
    codes = tensors.get(f"{prefix}codes", np.zeros((n_rows, n_steps, 0), "int64"))
    if codes.ndim != 3 or codes.shape[:2] != values.shape[:2]:
        raise ValueError(
            f"'{prefix}codes' must have the shape ({n_rows}, {n_steps}, C), like "
            f"'{prefix}values'; got {codes.shape}."
        )
    return values, codes, lengths


def _check_events(
    values: np.ndarray, codes: np.ndarray, prefix: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return channels (n_events, F), float32, and codes (n_events, C), int32.

    Raises a ValueError for numbers that are not finite, and for codes that are no
    integers from 0 on.
    """
    channels = values.astype("float32")
    n_bad = int((~np.isfinite(channels)).sum())
    if n_bad:
        raise ValueError(
            f"'{prefix}values' has {n_bad} missing or infinite values; fill them."
        )
    if n_negative := int((codes < 0).sum()):
        raise ValueError(
            f"'{prefix}codes' has {n_negative} negative codes; 0 is the code of "
            "unknown levels."
        )
    with np.errstate(invalid="ignore"):  # NaN and numbers beyond int32
        whole = codes.astype("int32")
    if n_other := int((whole != codes).sum()):
        raise ValueError(
            f"'{prefix}codes' has {n_other} values that are not integers from 0 to "
            f"{np.iinfo('int32').max}. HistoryPadder makes such codes."
        )
    return channels, whole
