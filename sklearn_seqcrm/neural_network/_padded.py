"""Padded tensors of histories, sliceable by scikit-learn, and back again."""

from __future__ import annotations

from typing import Any

import numpy as np
from skorch.helper import SliceDict

from sklearn_seqcrm.neural_network._reader import HistorySpec
from sklearn_seqcrm.neural_network._rows import HistorySource, RowData

# Half-lives, in events, for tensors that do not say when events happened.
_HALF_LIVES = (1.0, 4.0, 16.0, 64.0)
_TENSORS = ("values", "codes", "lengths")


class PaddedHistories(SliceDict):
    """Padded tensors that remember what they were padded from.

    Made by `HistoryPadder`. Selecting rows keeps `layout`, and the customers of the
    rows that were selected.

    Parameters
    ----------
    **tensors : ndarray
        ``values``, ``codes``, ``lengths``, ``static``; see `HistoryPadder`.
    """

    layout: dict[str, HistorySpec] | None = None
    padding: str = "post"
    customers: np.ndarray | None = None
    sums: np.ndarray | None = None

    def with_layout(
        self,
        layout: dict[str, HistorySpec],
        padding: str,
        customers: np.ndarray,
        sums: np.ndarray,
    ) -> PaddedHistories:
        """Set what the tensors alone do not say, and return the object.

        Parameters
        ----------
        layout : dict of str to HistorySpec
            Shape of each history, by the name before its keys.
        padding : {"post", "pre"}
            Where the zeros are.
        customers : ndarray of shape (n,), int64
            Number of the customer of each row.
        sums : ndarray of shape (n, n_sums), float32
            Sums of the histories, which only a network of ours with a linear part
            reads.
        """
        self.layout, self.padding = layout, padding
        self.customers, self.sums = customers, sums
        return self

    def __getitem__(self, rows: Any) -> Any:
        """A tensor for a name, some rows of all tensors for anything else."""
        selected = super().__getitem__(rows)
        if isinstance(selected, PaddedHistories) and self.layout is not None:
            assert self.customers is not None
            assert self.sums is not None
            selected.with_layout(
                self.layout, self.padding, self.customers[rows], self.sums[rows]
            )
        return selected

    def copy(self) -> PaddedHistories:
        """The same tensors in a new dict; SliceDict would forget the layout."""
        return self[:]


def padded_inputs(
    X: dict[str, Any],
) -> tuple[RowData, tuple[HistorySpec, ...], tuple[str, ...], np.ndarray]:
    """Read padded tensors, with or without a layout, into ragged rows.

    Parameters
    ----------
    X : dict of ndarray or Tensor
        ``values`` (n, T, F), ``lengths`` (n,), and optionally ``codes`` (n, T, C) and
        ``static`` (n, S), padded after the events. Several histories have their name
        before each key but the last: ``"orders_values"``.

    Returns
    -------
    data : RowData
        Rows, without targets.
    specs : tuple of HistorySpec
        Shape of each history.
    names : tuple of str
        Names of the histories.
    customers : ndarray of shape (n,), int64
        Rows with equal numbers belong to one customer.
    """
    tensors = {key: np.asarray(X[key]) for key in X}
    prefixes = [key.removesuffix("values") for key in tensors if key.endswith("values")]
    known = [f"{prefix}{key}" for prefix in prefixes for key in _TENSORS]
    unknown = [key for key in tensors if key not in [*known, "static"]]
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
    layout = getattr(X, "layout", None)
    padding = getattr(X, "padding", "post")
    sources, specs = [], []
    for prefix in prefixes:
        source, spec = _unpad(tensors, prefix, padding, has_ages=layout is not None)
        name = prefix.removesuffix("_")
        sources.append(source)
        specs.append(spec if layout is None else layout[name])
    static = tensors.get("static", np.zeros((n_rows, 0))).astype("float32")
    if not np.isfinite(static).all():
        n_bad = int((~np.isfinite(static)).sum())
        raise ValueError(f"'static' has {n_bad} missing or infinite values; fill them.")
    customers = getattr(X, "customers", None)
    return (
        RowData(tuple(sources), static),
        tuple(specs),
        tuple(prefix.removesuffix("_") for prefix in prefixes),
        np.arange(n_rows) if customers is None else customers,
    )


def _unpad(
    tensors: dict[str, np.ndarray], prefix: str, padding: str, *, has_ages: bool
) -> tuple[HistorySource, HistorySpec]:
    """One history, flattened to its events."""
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
    step = np.arange(n_steps)
    real = step < lengths[:, None]
    if padding == "pre":
        real = real[:, ::-1]
    codes = tensors.get(f"{prefix}codes", np.zeros((n_rows, n_steps, 0), "int64"))
    if codes.ndim != 3 or codes.shape[:2] != values.shape[:2]:
        raise ValueError(
            f"'{prefix}codes' must have the shape ({n_rows}, {n_steps}, C), like "
            f"'{prefix}values'; got {codes.shape}."
        )
    channels, codes = values[real].astype("float32"), codes[real].astype("int32")
    n_bad = int((~np.isfinite(channels)).sum())
    if n_bad:
        raise ValueError(
            f"'{prefix}values' has {n_bad} missing or infinite values; fill them."
        )
    if codes.size and codes.min() < 0:
        raise ValueError(
            f"'{prefix}codes' has {(codes < 0).sum()} negative codes; 0 stands for a "
            "level that is not known."
        )
    stop = np.cumsum(lengths, dtype="int64")
    start = stop - lengths
    if has_ages:
        ages = np.expm1(channels[:, -1].astype("float64"))
        channels = np.ascontiguousarray(channels[:, :-1])
    else:
        ages = np.repeat(stop, lengths) - 1.0 - np.arange(len(channels))
    n_levels = tuple(int(column.max(initial=1)) + 1 for column in codes.T)
    spec = HistorySpec(channels.shape[1], n_levels, _HALF_LIVES)
    source = HistorySource(channels, codes, -ages, start, stop, np.zeros(n_rows))
    return source, spec
