"""Kinds of fields: how each is learned, encoded and described."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import Repeated, blocks, event_blocks, look_up, ranked
from sklearn_seqcrm._store import Clock, Column, find_ids, kind_of_ids


class Training(NamedTuple):
    """What fields learn from, beside their own values.

    Parameters
    ----------
    times : ndarray of shape (n_events,)
        Times of all events of the log, in ticks of `clock`.
    clock : Clock
        What the times mean.
    min_events : float
        Fewest events of a level that has a code of its own.
    max_levels : int or None
        Most levels of a field that have one.
    runs : tuple of (ndarray, ndarray) or None, default=None
        What `visible_runs` found, the training events; None: all of the log.
    """

    times: np.ndarray
    clock: Clock
    min_events: float
    max_levels: int | None
    runs: tuple[np.ndarray, np.ndarray] | None = None

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Positions of the training events, and where runs begin, some at a time."""
        runs = self.runs
        if runs is None:
            runs = np.zeros(1, "int64"), np.array([len(self.times)])
        for _, index, first in event_blocks(*runs):
            yield index, first

    def times_in_blocks(self) -> Iterator[np.ndarray]:
        """Times of the training events."""
        for index, _ in self.blocks():
            yield self.times[index]

    def gaps_in_blocks(self) -> Iterator[np.ndarray]:
        """Gaps between training events of a customer that follow one another.

        Those of events at the same time are left out.
        """
        for index, first in self.blocks():
            gaps = np.diff(self.times[index], prepend=self.times[index[:1]])
            gaps[first] = 0
            yield gaps[gaps > 0].astype("float64")


class FieldEncoder(ABC):
    """What was learned of one field: each event has channels of it, or a code."""

    @property
    def n_codes(self) -> int:
        """Number of codes; 0 if the field is of channels."""
        return 0

    @property
    def n_components(self) -> int:
        """Components of a vector; 0 if the field is one number, or a code."""
        return 0

    @property
    def some_missing(self) -> bool:
        """Whether another channel marks the events that lack a value."""
        return False

    @property
    def origin(self) -> float:
        """Center over scale of a channel whose tails are folded in."""
        return 0.0

    @classmethod
    @abstractmethod
    def learn(cls, column: Column, training: Training) -> Self:
        """Learn from the values of the training events.

        Parameters
        ----------
        column : Column of n_events
            The field of the log.
        training : Training
            Which events to learn from, and the rules.
        """

    @abstractmethod
    def encode(
        self, column: Column, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Turn the values of some events into numbers.

        Parameters
        ----------
        column : Column of n
            The field of these events.
        times : ndarray of shape (n,)
            Their times, on the clock of the training events.

        Returns
        -------
        numbers : ndarray of shape (n,) or (n, n_components)
            A channel, float32 and finite, or codes below `n_codes`, int32; or the
            channels of vectors.
        is_missing : ndarray of shape (n,), bool, or None
            Events that lack a value; None for codes, which have one for that.
        """

    @abstractmethod
    def learned(self) -> tuple[Any, ...]:
        """Everything learned, as Python's own values."""

    def knowing(self, column: Column) -> FieldEncoder:
        """The same, prepared for many blocks of events of one column."""
        return self


_HUGE = 1e150  # beyond this even the spread of numbers overflows
_FAR = 1e38  # spreads from the center that float32 holds


class NumericScale(NamedTuple):
    """Center, spread, and whether some of the training events lack a value."""

    center: float
    scale: float
    some_missing: bool

    @classmethod
    def of(cls, blocks: Iterable[np.ndarray]) -> NumericScale:
        """Learn from the values of the training events.

        Parameters
        ----------
        blocks : iterable of ndarray of shape (n,)
            The values, some at a time, gone through several times.
        """
        n_all = n_known = 0
        eps = largest = 0.0
        for values in blocks:
            known = np.isfinite(values)
            n_all, n_known = n_all + len(values), n_known + int(known.sum())
            eps = np.finfo(values.dtype).eps
            largest = max(largest, float(np.abs(values).max(where=known, initial=0)))
        if not n_known:
            return cls(0.0, 1.0, n_all > 0)
        numbers = Repeated(lambda: map(_numbers_of, blocks))
        place = np.array([0.25, 0.5, 0.75]) * (n_known - 1)
        below, above = np.floor(place).astype(int), np.ceil(place).astype(int)
        below, above = ranked(numbers, n_known, [*below, *above]).reshape(2, 3)
        low, center, high = below + place % 1 * (above - below)
        # Where half of the values are one and the same but for rounding, which is that
        # of the type in which they are stored, quartiles say nothing.
        rounding = 4 * float(eps)
        scale = (high - low) / 1.349
        if scale <= rounding * max(abs(low), abs(high)):
            mean = sum(block.sum() for block in numbers) / n_known
            squares = sum(((block - mean) ** 2).sum() for block in numbers)
            scale = np.sqrt(squares / n_known)
        if scale <= rounding * min(largest, _HUGE):
            scale = 1.0
        return cls(float(center), float(scale), n_known < n_all)

    def fold(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scale values and fold their tails in.

        Parameters
        ----------
        values : ndarray of shape (n,)
            Numbers.

        Returns
        -------
        folded : ndarray of shape (n,), float32
            0 for what is not finite.
        is_missing : ndarray of shape (n,), bool
            Values that are not.
        """
        is_known = np.isfinite(values)
        z = np.where(is_known, values, self.center).astype("float64", copy=False)
        z.clip(-_HUGE, _HUGE, out=z)
        z -= self.center
        z /= self.scale
        z = z.clip(-_FAR, _FAR, out=z).astype("float32")
        # In float32 a logarithm takes a tenth of the time, but log1p a third.
        return np.copysign(np.log(1 + np.abs(z)), z), ~is_known


def _numbers_of(values: np.ndarray) -> np.ndarray:
    """Finite values in float64, whose spread can be computed."""
    return values[np.isfinite(values)].astype("float64").clip(-_HUGE, _HUGE)


@dataclass(frozen=True)
class NumericField(FieldEncoder):
    """A field of numbers, or of datetimes, which are read as days after the event.

    Parameters
    ----------
    scale : NumericScale
        Scale of the numbers.
    clock : Clock
        What the times of events mean.
    """

    scale: NumericScale
    clock: Clock

    @classmethod
    def learn(cls, column: Column, training: Training) -> Self:
        def blocks() -> Iterator[np.ndarray]:
            for index, _ in training.blocks():
                times = training.times[index]
                yield column.take(index).as_numbers(times, training.clock)

        return cls(NumericScale.of(Repeated(blocks)), training.clock)

    @property
    def some_missing(self) -> bool:
        """Whether a second channel marks the events that lack a value."""
        return self.scale.some_missing

    @property
    def origin(self) -> float:
        return self.scale.center / self.scale.scale

    def encode(
        self, column: Column, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.scale.fold(column.as_numbers(times, self.clock))

    def learned(self) -> tuple[Any, ...]:
        return tuple(self.scale)


# Spreads from the mean beyond which a component of a new vector is no longer told
# apart: those of embeddings have no heavy tails to fold in.
_MOST = 10.0


@dataclass(frozen=True, eq=False)
class VectorField(FieldEncoder):
    """A field of vectors, each component in units of its spread about its mean.

    Parameters
    ----------
    center, scale : ndarray of shape (n_components,), float32
        Mean and standard deviation among the training events. The deviation of a
        component that is constant there is 1.
    any_missing : bool
        Whether some of the training events lack a vector.
    """

    center: np.ndarray
    scale: np.ndarray
    any_missing: bool

    @classmethod
    def learn(cls, column: Column, training: Training) -> Self:
        size = column.values.shape[1]
        n = n_missing = 0
        total, squares = np.zeros((2, size))
        for vectors, n_lacking in _known(column, training):
            n, n_missing = n + len(vectors), n_missing + n_lacking
            total += vectors.sum(axis=0)
        center = total / max(n, 1)
        for vectors, _ in _known(column, training):
            squares += np.square(vectors - center).sum(axis=0)
        scale = np.sqrt(squares / max(n, 1))
        # Of what is constant, rounding is all there is.
        rounding = 4 * np.finfo("float32").eps * np.abs(center)
        scale = np.where(scale > rounding, scale, 1.0)
        center, scale = center.astype("float32"), scale.astype("float32")
        # Spreads too small for float32 would be 0 there.
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
        with np.errstate(over="ignore"):  # what is infinite is clipped
            vectors = (column.values - self.center) / self.scale
        vectors = vectors.clip(-_MOST, _MOST, out=vectors)
        vectors[is_missing] = 0
        return vectors, is_missing

    def learned(self) -> tuple[Any, ...]:
        numbers = np.stack([self.center, self.scale])
        digest = hashlib.sha256(numbers.tobytes()).hexdigest()
        return self.n_components, self.any_missing, digest


def _known(column: Column, training: Training) -> Iterator[tuple[np.ndarray, int]]:
    """Training vectors that are there, in float64, and how many are not, in blocks."""
    for index, _ in training.blocks():
        for some in blocks(len(index), column.values.shape[1]):
            part = column.take(index[some])
            is_there = part.is_present()
            yield part.values[is_there].astype("float64"), int((~is_there).sum())


# Codes of every categorical field; rare levels share the last one, if there are any.
UNSEEN, MISSING, FIRST_LEVEL = 0, 1, 2
_FEW_LEVELS = 256  # are looked up in less time than it takes to find those that occur


@dataclass(frozen=True, eq=False)
class Vocabulary(FieldEncoder):
    """The levels of a categorical field that have a code of their own, and the rare.

    Parameters
    ----------
    levels, rare : Index
        Both in ascending order.
    """

    levels: pd.Index
    rare: pd.Index
    # Categories of some log, and what was found for them.
    _known: tuple[pd.Index | None, np.ndarray] | None = field(default=None, repr=False)

    @classmethod
    def learn(cls, column: Column, training: Training) -> Self:
        # The categories may hold levels that only the future knows.
        assert column.categories is not None
        counts = np.zeros(len(column.categories), dtype="int64")
        for index, _ in training.blocks():
            codes = column.values[index]
            counts += np.bincount(codes[codes >= 0], minlength=len(counts))
        present = np.flatnonzero(counts)
        by_count = present[np.argsort(-counts[present], kind="stable")]
        enough = counts[by_count] >= training.min_events
        kept = np.sort(by_count[enough][: training.max_levels])
        rare = np.setdiff1d(present, kept)
        return cls(column.categories[kept], column.categories[rare])

    @property
    def n_codes(self) -> int:
        """Number of codes, with those for unseen, missing and rare levels."""
        return FIRST_LEVEL + len(self.levels) + (len(self.rare) > 0)

    def encode(self, column: Column, times: np.ndarray) -> tuple[np.ndarray, None]:
        if self._known is not None and column.categories is self._known[0]:
            table = self._known[1]
        else:
            # A few events shall not cost what the levels do that they do not have.
            column = column.trimmed(more_than=max(len(column.values), _FEW_LEVELS))
            table = self._codes_of(column.categories)
        return look_up(table, column.values, MISSING), None

    def knowing(self, column: Column) -> Vocabulary:
        """The same, which has looked the categories of a column up."""
        return replace(
            self, _known=(column.categories, self._codes_of(column.categories))
        )

    def _codes_of(self, categories: pd.Index | None) -> np.ndarray:
        """Codes of the categories of any log, shape (n_categories,), int32."""
        assert categories is not None
        place = find_ids(categories, self.levels)
        codes = np.where(place >= 0, place + FIRST_LEVEL, UNSEEN).astype("int32")
        if len(self.rare):
            # Of 20,000 strings `isin` took 110 ms, and 100 ms for three of them.
            codes[find_ids(categories, self.rare) >= 0] = self.n_codes - 1
        return codes

    def code_of_each(self) -> list[tuple[Any, int]]:
        """All levels with their codes; all others are 0, and missing ones 1."""
        codes = [*range(FIRST_LEVEL, FIRST_LEVEL + len(self.levels))]
        codes += [self.n_codes - 1] * len(self.rare)
        levels = [*self.levels.tolist(), *self.rare.tolist()]
        return list(zip(levels, codes, strict=True))

    def learned(self) -> tuple[Any, ...]:
        return list(self.levels), list(self.rare)


# By `Column.kind`. A kind of field is a class and an entry here.
FIELD_ENCODERS: dict[str, type[FieldEncoder]] = {
    "categorical": Vocabulary,
    "datetime": NumericField,
    "numeric": NumericField,
    "vector": VectorField,
}
_VECTORS = "vectors of "
_OF_LEVELS = "categorical"


def kind_of_field(column: Column, expected: str | None = None) -> str:
    """Kind of a field; levels of one kind never equal levels of another.

    Levels are of the kinds that ids have: text, numbers, booleans, ... Vectors are of
    one kind if they are of one length. A field without any level is of the kind that
    is expected, if that has levels.
    """
    if column.kind == "vector":
        return f"{_VECTORS}{column.values.shape[1]}"
    if column.categories is None:
        return column.kind
    if not len(column.categories):
        return expected if expected and _has_levels(expected) else _OF_LEVELS
    kind = kind_of_ids(column.categories)
    return _OF_LEVELS if kind == "text" else f"{_OF_LEVELS} ({kind}s)"


def _has_levels(kind: str) -> bool:
    """Tell whether a kind of field, as `kind_of_field` returns it, is of levels."""
    return kind.startswith(_OF_LEVELS)


def fitting_columns(
    columns: Mapping[str, Column], expected: Mapping[str, str], history: str
) -> Mapping[str, Column]:
    """Columns of the kinds of training; what has no value at all is of any kind.

    A table of few events may lack all values of a field, and a column of nothing but
    None does not say what it would have held.

    Parameters
    ----------
    columns : mapping of str to Column
        Fields of the log.
    expected : mapping of str to str
        Kinds of the fields of training.
    history : str
        Name of the history column, for errors.

    Returns
    -------
    mapping of str to Column
        `columns` themselves, if all of them fit.

    Raises
    ------
    ValueError
        If the fields are not those of training.
    """
    fitting = {
        name: _column_of_nothing(expected[name], len(column.values))
        for name, column in columns.items()
        if name in expected
        and kind_of_field(column, expected[name]) != expected[name]
        and column.is_empty()
    }
    fitted = {**columns, **fitting} if fitting else columns
    _refuse_other_fields(fitted, expected, history)
    return fitted


def _column_of_nothing(kind: str, n_events: int) -> Column:
    """A column of some kind without any value."""
    if _has_levels(kind):
        return Column(np.full(n_events, -1, "int32"), pd.Index([], dtype=object))
    if kind.startswith(_VECTORS):
        size = int(kind.removeprefix(_VECTORS))
        return Column(np.full((n_events, size), np.nan, "float32"))
    missing = np.nan if kind == "numeric" else np.datetime64("NaT", "us")
    return Column(np.full(n_events, missing))


def _refuse_other_fields(
    columns: Mapping[str, Column], expected: Mapping[str, str], history: str
) -> None:
    """Raise a ValueError if the fields of a log are not those of training."""
    kinds = {
        name: kind_of_field(column, expected.get(name))
        for name, column in columns.items()
    }
    if kinds == expected:
        return
    lost = [name for name in expected if name not in kinds]
    extra = [name for name in kinds if name not in expected]
    changed = [
        f"{name!r} is {kinds[name]} and was {expected[name]}"
        for name in expected
        if name in kinds and kinds[name] != expected[name]
    ]
    parts = [f"lacks the fields {lost}"] if lost else []
    parts += [f"has the unknown fields {extra}"] if extra else []
    parts += [f"has other types: {', '.join(changed)}"] if changed else []
    raise ValueError(
        f"The log behind {history!r} does not fit the one seen in fit: it "
        f"{'; it '.join(parts)}. Build it from the same columns "
        f"(EventLog(..., fields={list(expected)}))."
    )
