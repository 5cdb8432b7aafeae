"""Encoders of fields: one for each way in which a type of field is encoded.

================  ========================  ===========================================
encoding          class                     encoded event
================  ========================  ===========================================
``"numbers"``     `NumericField`            a channel: the symlog of the scaled number
``"vectors"``     `VectorField`             a channel for each component, standardised
``"levels"``      `Vocabulary`              a code
================  ========================  ===========================================

Numbers and vectors have one more channel, a mark, if training values were missing.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._encoding._training import LevelCounts, Training
from sklearn_seqcrm._ragged import Learning, Moments, Pass, blocks, selection
from sklearn_seqcrm._store import Clock, Column, find_ids


class FieldEncoder(ABC):
    """A fitted encoder of one field: it gives each event channels or a code."""

    @property
    def n_codes(self) -> int:
        """Number of codes; 0 if the field has channels."""
        return 0

    @property
    def n_components(self) -> int:
        """Components of a vector; 0 if the field has one channel, or a code."""
        return 0

    @property
    def some_missing(self) -> bool:
        """Whether a further channel marks the events without a value."""
        return False

    @property
    def origin(self) -> float:
        """Center over scale of a channel of symlog numbers, see `symexp`."""
        return 0.0

    @abstractmethod
    def encode(
        self, column: Column, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Encode the values of n events, at `times` (n,) on the clock of training.

        Returns channels, float32 and finite, or codes below `n_codes`, int32, of shape
        (n,) or (n, n_components); and which events lack a value, (n,), bool, or None
        for codes, which have a code for that.
        """

    @abstractmethod
    def learned(self) -> tuple[Any, ...]:
        """Return everything learned as Python values, for a digest."""

    def prepared_for(self, column: Column) -> FieldEncoder:
        """Return an equal encoder that encodes many blocks of one column faster."""
        return self


_HUGE = 1e150  # beyond this the squares that a variance sums overflow
_FAR = 1e38  # scales from the center that float32 holds


class NumericScale(NamedTuple):
    """A robust scale of numbers, and whether some training events lack a value."""

    center: float  # median
    # Interquartile range over 1.349, which for a normal distribution is the standard
    # deviation. If half of the values are equal, the standard deviation; if all are, 1.
    scale: float
    some_missing: bool  # whether some training values are missing or infinite

    @classmethod
    def learning(cls, name: str) -> Learning[NumericScale]:
        """Learn from the numbers of a field, in passes over a `Training`."""
        n_all, n_known, eps, largest = yield Pass(
            partial(_extent_of, name), _joint_extent
        )
        if not n_known:
            return cls(0.0, 1.0, n_all > 0)
        numbers = partial(_finite_numbers, name)
        place = np.array([0.25, 0.5, 0.75]) * (n_known - 1)
        below, above = np.floor(place).astype(int), np.ceil(place).astype(int)
        found = yield from selection(numbers, n_known, [*below, *above])
        below, above = found.reshape(2, 3)
        low, center, high = below + place % 1 * (above - below)
        # If half of the values are equal up to the rounding of their stored type, the
        # quartiles are equal, too, and do not measure the spread of the other half.
        rounding = 4 * float(eps)
        scale = (high - low) / 1.349
        if scale <= rounding * max(abs(low), abs(high)):
            moments = yield Pass(partial(_moments_of, numbers), Moments.merge)
            [scale] = moments.spread
        if scale <= rounding * min(largest, _HUGE):
            scale = 1.0
        return cls(float(center), float(scale), n_known < n_all)

    def symlog(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scale values (n,), and take their symmetric logarithm.

        Returns float32 numbers (n,), and which values are not finite, (n,), bool: their
        number is 0, the median.

        Notes
        -----
        With ``z = (x - center) / scale``, ``symlog(z) = sign(z) * log(1 + abs(z))``:
        linear about the median, logarithmic in the tails, so that one huge order does
        not squeeze all others together. Its inverse is ``symexp(u) = sign(u) *
        (exp(abs(u)) - 1)``.

        References
        ----------
        J. B. W. Webber, A bi-symmetric log transformation for wide-range data,
        Measurement Science and Technology 24 (2013), doi:10.1088/0957-0233/24/2/027001.
        The names symlog and symexp: D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap,
        Mastering diverse domains through world models (DreamerV3), arXiv:2301.04104.
        """
        is_known = np.isfinite(values)
        z = np.where(is_known, values, self.center).astype("float64", copy=False)
        z.clip(-_HUGE, _HUGE, out=z)
        z -= self.center
        z /= self.scale
        z = z.clip(-_FAR, _FAR, out=z).astype("float32")
        # float32 makes log ten times as fast, log1p only three times. What log loses
        # of |z| < 1e-7 is below the resolution of the channel.
        return np.copysign(np.log(1 + np.abs(z)), z), ~is_known


def _extent_of(name: str, training: Training) -> tuple[int, int, float, float]:
    """Return the number of values, of finite ones, their epsilon and largest size."""
    n_all = n_known = 0
    eps = largest = 0.0
    for values in training.numbers_of(name):
        known = np.isfinite(values)
        n_all, n_known = n_all + len(values), n_known + int(known.sum())
        eps = np.finfo(values.dtype).eps
        largest = max(largest, float(np.abs(values).max(where=known, initial=0)))
    return n_all, n_known, eps, largest


def _joint_extent(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    sizes = [max(a, b) for a, b in zip(one[2:], other[2:], strict=True)]
    return one[0] + other[0], one[1] + other[1], *sizes


def _finite_numbers(name: str, training: Training) -> Iterator[np.ndarray]:
    """Yield the finite values in float64, clipped so that squares do not overflow."""
    for values in training.numbers_of(name):
        yield values[np.isfinite(values)].astype("float64").clip(-_HUGE, _HUGE)


def _moments_of(
    numbers: Callable[[Training], Iterator[np.ndarray]], training: Training
) -> Moments:
    return Moments.of(partial(numbers, training))


@dataclass(frozen=True)
class NumericField(FieldEncoder):
    """Encoder of a scalar field: a channel with the symlog of its scaled numbers."""

    scale: NumericScale  # of the numbers that `Column.as_numbers` returns
    clock: Clock  # what the times of events mean

    @classmethod
    def learning(cls, name: str, clock: Clock) -> Learning[Self]:
        """Learn from the numbers of a field, in passes over a `Training`."""
        scale = yield from NumericScale.learning(name)
        return cls(scale, clock)

    @property
    def some_missing(self) -> bool:
        return self.scale.some_missing

    @property
    def origin(self) -> float:
        return self.scale.center / self.scale.scale

    def encode(
        self, column: Column, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.scale.symlog(column.as_numbers(times, self.clock))

    def learned(self) -> tuple[Any, ...]:
        return tuple(self.scale)


# Standard deviations from the mean at which components are clipped. Embeddings have no
# heavy tails, so that a symlog would only distort them.
_MOST = 10.0


@dataclass(frozen=True, eq=False)
class VectorField(FieldEncoder):
    """Encoder of a field of vectors: a channel for each component, standardised."""

    center: np.ndarray  # (n_components,), float32: mean among the training events
    # Their standard deviation; 1 for a constant component.
    scale: np.ndarray
    any_missing: bool  # whether some training events lack a vector

    @classmethod
    def learning(cls, name: str, clock: Clock) -> Learning[Self]:
        """Learn from the vectors of a field, in passes over a `Training`."""
        moments, n_missing = yield Pass(partial(_vectors_of, name), _joint_vectors)
        center, scale = moments.center, moments.spread
        # A constant component has no deviation but that of rounding.
        rounding = 4 * np.finfo("float32").eps * np.abs(center)
        scale = np.where(scale > rounding, scale, 1.0)
        center, scale = center.astype("float32"), scale.astype("float32")
        # A deviation may be too small for float32.
        scale[scale == 0] = 1.0
        return cls(center, scale, n_missing > 0)

    @property
    def n_components(self) -> int:
        return len(self.center)

    @property
    def some_missing(self) -> bool:
        return self.any_missing

    def encode(
        self, column: Column, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        is_missing = ~column.is_present()
        with np.errstate(over="ignore"):  # infinite numbers are clipped
            vectors = (column.values - self.center) / self.scale
        vectors = vectors.clip(-_MOST, _MOST, out=vectors)
        vectors[is_missing] = 0
        return vectors, is_missing

    def learned(self) -> tuple[Any, ...]:
        numbers = np.stack([self.center, self.scale])
        digest = hashlib.sha256(numbers.tobytes()).hexdigest()
        return self.n_components, self.any_missing, digest


def _vectors_of(name: str, training: Training) -> tuple[Moments, int]:
    """Return the moments of present vectors, and how many are missing."""
    column = training.columns[name]
    n_missing = sum(int((~part.is_present()).sum()) for part in _parts(name, training))

    def present() -> Iterator[np.ndarray]:
        for part in _parts(name, training):
            yield part.values[part.is_present()].astype("float64")

    moments = Moments.of(present)
    # Without any vector the sums have no shape yet.
    none = np.zeros(column.values.shape[1])
    return moments._replace(total=moments.total + none), n_missing


def _joint_vectors(
    one: tuple[Moments, int], other: tuple[Moments, int]
) -> tuple[Moments, int]:
    return one[0].merge(other[0]), one[1] + other[1]


def _parts(name: str, training: Training) -> Iterator[Column]:
    """Yield the vectors of training events, some at a time."""
    column = training.columns[name]
    for index, _ in training.blocks():
        for some in blocks(len(index), column.values.shape[1]):
            yield column.take(index[some])


_FEW_LEVELS = 256  # looking all of them up is faster than finding those that occur


@dataclass(frozen=True, eq=False)
class LevelTable(FieldEncoder):
    """Encoder of a categorical field, by a table with an entry for each level."""

    levels: pd.Index  # levels with an entry of their own, in ascending order
    # Categories of some column, and their table: set by `prepared_for`.
    _known: tuple[pd.Index | None, np.ndarray] | None = field(
        default=None, repr=False, kw_only=True
    )

    def encode(self, column: Column, times: np.ndarray) -> tuple[np.ndarray, None]:
        if self._known is not None and column.categories is self._known[0]:
            table = self._known[1]
        else:
            # The cost follows the events, not the levels that none of them has.
            column = column.trimmed(more_than=max(len(column.values), _FEW_LEVELS))
            table = self._table_of(column.categories)
        # A missing value has the code -1, the last entry.
        return table[column.values], None

    def prepared_for(self, column: Column) -> Self:
        """Return an equal encoder that has looked up the categories of a column."""
        table = self._table_of(column.categories)
        return replace(self, _known=(column.categories, table))

    @abstractmethod
    def _table_of(self, categories: pd.Index | None) -> np.ndarray:
        """Return the entries of categories and, as the last one, of a missing value."""


# Codes of every categorical field:
#
#   0        1         2 ...                   n_codes - 1
#   unseen   missing   one code for each level   all rare levels, if there are any
UNSEEN, MISSING, FIRST_LEVEL = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Vocabulary(LevelTable):
    """Encoder of a categorical field: a code; rare levels share one."""

    rare: pd.Index  # levels that share the last code, in ascending order

    @classmethod
    def of(cls, found: LevelCounts, min_events: float, max_levels: int | None) -> Self:
        """Choose the levels with a code of their own by their numbers of events."""
        levels, counts = found
        by_count = np.argsort(-counts, kind="stable")
        enough = counts[by_count] >= min_events
        kept = np.sort(by_count[enough][:max_levels])
        rare = np.setdiff1d(np.arange(len(levels)), kept)
        return cls(levels[kept], levels[rare])

    @property
    def n_codes(self) -> int:
        """Number of codes, those for unseen, missing and rare levels included."""
        return FIRST_LEVEL + len(self.levels) + (len(self.rare) > 0)

    def _table_of(self, categories: pd.Index | None) -> np.ndarray:
        """Return codes, shape (n_categories + 1,), int32."""
        assert categories is not None
        place = find_ids(categories, self.levels)
        codes = np.where(place >= 0, place + FIRST_LEVEL, UNSEEN)
        if len(self.rare):
            # `Index.isin` took 110 ms for 20,000 strings, whatever the rare levels are:
            # 100 ms for three of them.
            codes[find_ids(categories, self.rare) >= 0] = self.n_codes - 1
        return np.append(codes, MISSING).astype("int32")

    def code_of_each(self) -> list[tuple[Any, int]]:
        """Return all levels of training with their codes, the rare ones last."""
        codes = [*range(FIRST_LEVEL, FIRST_LEVEL + len(self.levels))]
        codes += [self.n_codes - 1] * len(self.rare)
        levels = [*self.levels.tolist(), *self.rare.tolist()]
        return list(zip(levels, codes, strict=True))

    def learned(self) -> tuple[Any, ...]:
        return list(self.levels), list(self.rare)


# By `FieldType.encoding`.
FIELD_ENCODERS: dict[str, type[FieldEncoder]] = {
    "levels": Vocabulary,
    "numbers": NumericField,
    "vectors": VectorField,
}
