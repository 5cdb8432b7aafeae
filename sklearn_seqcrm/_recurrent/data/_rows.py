"""Rows for a network: the events they view, statics and targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch

from sklearn_seqcrm._encoding import Layout

_OF_ALL_ROWS = {"of_all_rows": True}


class TensorFields:
    """A dataclass whose fields are tensors or arrays, changed all in one way.

    None stays None, and tuples, lists and other `TensorFields` are followed. Fields
    with the metadata ``of_all_rows`` are left as they are.
    """

    def change(self, function: Callable[[Any], Any]) -> Self:
        """Return an object with the result of a function in each field."""
        changed = {
            one.name: _changed(getattr(self, one.name), function)
            for one in fields(self)  # type: ignore[arg-type]
            if "of_all_rows" not in one.metadata
        }
        return replace(self, **changed)  # type: ignore[type-var]

    def to(self, device: torch.device | str) -> Self:
        """Return all tensors on a device."""
        return self.change(lambda tensor: tensor.to(device))


class IndexedFields(TensorFields):
    """Tensors or arrays that have an index in common, their first axis."""

    def take(self, rows: Any) -> Self:
        """Return the fields at some places, an array of int64 or a slice."""
        return self.change(lambda tensor: tensor[rows])


def _changed(value: Any, function: Callable[[Any], Any]) -> Any:
    if value is None:
        return None
    if isinstance(value, TensorFields):
        return value.change(function)
    if isinstance(value, list | tuple):
        return type(value)(_changed(one, function) for one in value)
    return function(value)


@dataclass(frozen=True)
class HistorySpec:
    """Sizes of the inputs from one history column.

    Parameters
    ----------
    n_channels : int
        Number of float channels, F.
    n_levels : tuple of int
        Number of codes of each of the C coded fields.
    half_lives : tuple of float
        Half-lives of the decayed poolings, in typical interarrival times.
    digest : str, default=""
        Digest of the encoder; empty for tensors without one.
    of_events : str, default=""
        Digest of what the encoder learned about single events, without row features.
    """

    n_channels: int
    n_levels: tuple[int, ...]
    half_lives: tuple[float, ...]
    digest: str = ""
    of_events: str = ""

    @classmethod
    def of(cls, layout: Layout) -> HistorySpec:
        """Return the sizes of an encoded log with this layout."""
        return cls(
            len(layout.channels),
            layout.n_levels,
            tuple(h / layout.time_unit for h in layout.half_lives),
            layout.digest,
            layout.of_events,
        )


@dataclass(frozen=True)
class HistorySource(IndexedFields):
    """The encoded events of one history column, and the rows that view them.

    Parameters
    ----------
    channels : ndarray of shape (n_events, F), float32
        Float channels of the events.
    codes : ndarray of shape (n_events, C), int32
        Codes of the events.
    times : ndarray of shape (n_events,)
        Times of the events.
    start, stop : ndarray of shape (n,), int64
        Row ``i`` sees the events ``start[i]:stop[i]``.
    cutoff : ndarray of shape (n,)
        Cutoffs, on the axis of `times`.
    time_unit : float, default=1.0
        Typical interarrival time, on that axis.
    gap : int or None, default=None
        Channel of the time since the previous event, which is set to 0 for the first
        event that a row sees: a lookback hides the previous one.
    """

    channels: np.ndarray = field(metadata=_OF_ALL_ROWS)
    codes: np.ndarray = field(metadata=_OF_ALL_ROWS)
    times: np.ndarray = field(metadata=_OF_ALL_ROWS)
    start: np.ndarray
    stop: np.ndarray
    cutoff: np.ndarray
    time_unit: float = field(default=1.0, metadata=_OF_ALL_ROWS)
    gap: int | None = field(default=None, metadata=_OF_ALL_ROWS)


@dataclass(frozen=True)
class RowData(IndexedFields):
    """Everything that a network reads of n rows.

    Parameters
    ----------
    sources : tuple of HistorySource
        One for each history column.
    static : ndarray of shape (n, S), float32
        Row features of the histories and, after these, statics: what the head reads
        beside histories.
    target : ndarray of shape (n,) or (n, k), or None
        Targets as the objective encodes them.
    weight : ndarray of shape (n,) or None
        Weight of each row in the loss. In training float32, of mean 1.
    sums : ndarray of shape (n, n_sums), float32, or None
        Sums of the histories, which only the linear part reads, after `static`.
    offset : ndarray of shape (n,), float32, or None
        Logarithm of the exposure over its mean, which is added to outputs.
    """

    sources: tuple[HistorySource, ...]
    static: np.ndarray
    target: np.ndarray | None = None
    weight: np.ndarray | None = None
    sums: np.ndarray | None = None
    offset: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.static)

    @property
    def linear_inputs(self) -> np.ndarray:
        """Inputs of the linear part: `static` and `sums`, shape (n, S + n_sums)."""
        if self.sums is None:
            return self.static
        return np.concatenate([self.static, self.sums], axis=1)
