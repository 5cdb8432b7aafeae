"""Encode the statics of a single row without a table.

The ColumnTransformer of make_history_pipeline takes some ten milliseconds for a row,
most of it to make tables. Its learned parameters are a few numbers for each column:
they are copied here, and export_onnx writes them as JSON.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_seqcrm._columns import (
    CustomerTargetEncoder,
    LevelEncoder,
    MarkingImputer,
    SteadyScaler,
    bounded,
    text_of,
    to_customer_levels,
    to_days,
    to_floats,
    to_levels,
)
from sklearn_seqcrm._store import Clock, days_between_ticks, is_real
from sklearn_seqcrm.serving._streaming._fitted_pipeline import (
    FittedPipeline,
    function_of,
    names_of,
    passes_through,
)

# Any other subclass may compute something else.
_ONE_HOT = (OneHotEncoder, LevelEncoder)
_IMPUTERS = (SimpleImputer, MarkingImputer)


class UnusualValueError(Exception):
    """A value of a type that only the pipeline's own steps convert or refuse."""


class _Part(Protocol):
    """Some columns of the ColumnTransformer."""

    def __call__(self, statics: Mapping[str, Any], cutoff: Any) -> Sequence[float]:
        """Return the numbers of a row; its cutoff is a tick of the first history."""

    def learned(self) -> dict[str, Any]:
        """Return the learned parameters in types that JSON has."""


class StaticsRowEncoder:
    """Encoder of the statics of a row that is a mapping.

    `parts` encode groups of columns; `order` is the position of each static of the
    estimator among their numbers.
    """

    def __init__(self, parts: Sequence[_Part], order: Sequence[int]) -> None:
        self._parts = parts
        self._order = np.array(order, dtype="intp")

    @classmethod
    def of(cls, parts: FittedPipeline) -> StaticsRowEncoder | None:
        """Copy the learned parameters of a pipeline; None if it has unknown steps."""
        wanted = list(parts.estimator._roles.statics)
        if parts.statics is None:
            return cls([_Numbers(wanted)], range(len(wanted)))
        [(_, step), *others] = parts.statics.steps
        if others:
            return None
        clock = next(iter(parts.encoders.values())).clock
        made, places = [], []
        for name, transformer, chosen in step.transformers_:
            # Scikit-learn 1.6 warns if the columns of a remainder are accessed.
            if name == "remainder":
                continue
            columns = names_of(step, chosen)
            # Histories pass through; without columns there is nothing to encode.
            if set(columns) <= set(parts.encoders):
                continue
            one = _part_of(transformer, columns, clock)
            if one is None:
                return None
            made.append(one)
            places.append(step.output_indices_[name])
        # Last: in scikit-learn 1.6, other functions may have no names of outputs.
        every = step.get_feature_names_out()
        names = [one for place in places for one in every[place]]
        if not set(wanted) <= set(names):
            return None
        return cls(made, [names.index(one) for one in wanted])

    def values(self, statics: Mapping[str, Any], cutoff: Any) -> np.ndarray:
        """Return the statics of a row, shape (n_statics,), float32.

        The cutoff is on the clock of the first history. An UnusualValueError is raised
        if a value has a type that is not handled here, or a number is not finite, and a
        KeyError if a column is missing.
        """
        numbers: list[float] = []
        for part in self._parts:
            numbers += part(statics, cutoff)
        values = np.array(numbers, dtype="float64")[self._order]
        if not (np.abs(values) <= 1e38).all():  # NaN is not, either
            raise UnusualValueError
        return values.astype("float32")

    def learned(self) -> dict[str, Any]:
        """Return the learned parameters in types that JSON has."""
        parts = [part.learned() for part in self._parts]
        return {"parts": parts, "order": self._order.tolist()}


def _part_of(transformer: Any, columns: list[Any], clock: Clock) -> _Part | None:
    if passes_through(transformer):
        return _Numbers(columns)
    function = function_of(transformer)
    steps = [step for _, step in getattr(transformer, "steps", [])[1:]]
    if function is to_levels and len(steps) == 1:
        return _Levels(columns, steps[0]) if type(steps[0]) in _ONE_HOT else None
    if function is to_customer_levels and len(steps) == 2:
        # The first columns are histories.
        levels = columns[-len(steps[0].categories_) :]
        return _Levels(levels, _ScaledTargets(*steps))
    if len(steps) != 2 or type(steps[0]) not in _IMPUTERS:
        return None
    imputer, scaler = steps
    if not isinstance(scaler, StandardScaler) or not imputer.add_indicator:
        return None
    if scaler.mean_ is None or scaler.scale_ is None:
        return None
    if function is to_floats:
        return _Scaled(_Numbers(columns), imputer, scaler)
    if function is to_days:
        return _Scaled(_Numbers(columns[1:], clock), imputer, scaler)
    return None


class _Numbers(NamedTuple):
    """Numbers of columns, NaN where they are missing; datetimes become days."""

    columns: Sequence[Any]
    # Clock of the cutoff, if the columns hold datetimes, which become days before it;
    # None if they hold numbers.
    clock: Clock | None = None

    def __call__(self, statics: Mapping[str, Any], cutoff: Any) -> list[float]:
        values = [statics[name] for name in self.columns]
        if self.clock is None:
            return [_number_of(value) for value in values]
        return [-days_after(value, cutoff, self.clock) for value in values]

    def learned(self) -> dict[str, Any]:
        kind = "numbers" if self.clock is None else "days before the cutoff"
        return {"kind": kind, "columns": list(self.columns)}


class _Scaled:
    """Numbers that are imputed, marked where they were missing, and standardised."""

    def __init__(
        self, numbers: _Part, imputer: SimpleImputer, scaler: StandardScaler
    ) -> None:
        self._numbers = numbers
        self._typical: list[float] = imputer.statistics_.tolist()
        self._marked: list[int] = imputer.indicator_.features_.tolist()
        self._mean, self._scale = scaler.mean_.tolist(), scaler.scale_.tolist()
        # scikit-learn's own scaler does not clip.
        self._is_clipped = isinstance(scaler, SteadyScaler)
        bounds = np.array([[-np.inf], [np.inf]]).repeat(len(self._mean), axis=1)
        if self._is_clipped:
            bounds = np.stack([scaler.least_, scaler.most_])
        self._least, self._most = bounds.tolist()

    def __call__(self, statics: Mapping[str, Any], cutoff: Any) -> list[float]:
        raw = np.array(self._numbers(statics, cutoff), dtype="float64")
        # Floats of Python round as those of NumPy do, and for a few columns its calls
        # would take ten times as long.
        values: list[float] = bounded(raw).tolist()
        missing = [value != value for value in values]
        values = [
            typical if lacks else value
            for value, lacks, typical in zip(
                values, missing, self._typical, strict=True
            )
        ]
        values += [float(missing[i]) for i in self._marked]
        learned = (self._least, self._most, self._mean, self._scale)
        return [
            (min(max(value, least), most) - mean) / scale
            for value, least, most, mean, scale in zip(values, *learned, strict=True)
        ]

    def learned(self) -> dict[str, Any]:
        return {
            **self._numbers.learned(),
            "typical": self._typical,
            "marked": self._marked,
            "mean": self._mean,
            "weight": [1 / scale for scale in self._scale],  # no infinite ones in JSON
            "least": self._least if self._is_clipped else None,
            "most": self._most if self._is_clipped else None,
        }


class _ScaledTargets(NamedTuple):
    """Target encodings of levels, standardised."""

    encoder: CustomerTargetEncoder
    scaler: StandardScaler

    @property
    def categories_(self) -> Sequence[np.ndarray]:
        return self.encoder.categories_

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """Return the encodings of levels, shape (n, n_columns * n_targets)."""
        values = np.hstack(self.encoder.encode(X))
        return (values - self.scaler.mean_) / self.scaler.scale_


class _Levels:
    """Levels, one-hot or by their targets.

    The encoder of the pipeline computes the row of each level once, so that its options
    (unknown and infrequent levels, ``drop``) need no code here. A row is that without
    levels, plus the difference that the level of each column makes.
    """

    def __init__(self, columns: Sequence[Any], encoder: Any) -> None:
        self._columns = columns
        self._without = self._rows_of(encoder, 0, [None])[0]
        # For each column: level -> difference to the row without any level.
        self._changes: list[dict[Any, np.ndarray]] = []
        for i, levels in enumerate(encoder.categories_):
            known = [one for one in levels.tolist() if isinstance(one, str)]
            new = f"not {known}"  # differs from each of them, whatever they are
            rows = self._rows_of(encoder, i, [*known, new]) - self._without
            self._changes.append(dict(zip([*known, None], rows, strict=True)))

    def _rows_of(self, encoder: Any, i: int, levels: list[Any]) -> np.ndarray:
        """Encode rows that have levels in one column only."""
        columns = {
            name: levels if i == j else [None] * len(levels)
            for j, name in enumerate(self._columns)
        }
        frame = pd.DataFrame(columns, dtype=object)
        return np.asarray(encoder.transform(frame), dtype="float64")

    def learned(self) -> dict[str, Any]:
        return {
            "kind": "levels",
            "columns": list(self._columns),
            "missing": self._without.tolist(),
            "changes": [
                [[level, _nonzero(row)] for level, row in changes.items()]
                for changes in self._changes
            ],
        }

    def __call__(self, statics: Mapping[str, Any], cutoff: Any) -> list[float]:
        row = self._without
        for name, changes in zip(self._columns, self._changes, strict=True):
            value = statics[name]
            if type(value) is not str:
                if not pd.api.types.is_hashable(value):
                    raise UnusualValueError
                if value is None or value is pd.NA or value != value:
                    continue
                value = text_of(value)
            change = changes.get(value)
            row = row + (changes[None] if change is None else change)
        return row.tolist()


def _nonzero(row: np.ndarray) -> list[list[Any]]:
    """Return the positions and values of nonzero numbers."""
    return [[i, row[i].item()] for i in np.flatnonzero(row).tolist()]


def days_after(value: Any, tick: Any, clock: Clock) -> float:
    """Return the days from a tick to a datetime, as a table with one row has them."""
    if value is None or value is pd.NA:
        return np.nan
    if not isinstance(value, datetime.datetime | np.datetime64):
        raise UnusualValueError
    timestamp = pd.Timestamp(value)
    if timestamp is pd.NaT:
        return np.nan
    if (timestamp.tzinfo is not None) != clock.aware:
        raise UnusualValueError
    # Exact integers: floats of nanoseconds would be off by up to 128.
    start = (0, "s") if clock.unit is None else (int(tick), clock.unit)
    ticks = timestamp.asm8.view("int64").item()
    return days_between_ticks(*start, ticks, timestamp.unit)


def _number_of(value: Any) -> float:
    if value is None or value is pd.NA:
        return np.nan
    if not is_real(value):
        raise UnusualValueError
    try:
        return float(value)
    except OverflowError as error:
        raise UnusualValueError from error
