"""Row features and sums of a network, named in words, with values in units of the log.

A network takes them as scaled logarithms, in columns such as ``count_2``. Readers of an
explanation see "number of events, half-life 30 days", and 4.2 events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._encoding import Layout
from sklearn_seqcrm._store import TICKS_PER_SECOND, Clock
from sklearn_seqcrm.events import HistoryArray

_UNITS = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
_CYCLES = {
    "hour": ("hour", "%H:%M"),
    "weekday": ("weekday", "%A"),
    "year": ("time of the year", "%d %B"),
}


class RowInput(NamedTuple):
    """One or several columns of a network that are explained as one input of a row."""

    name: str  # in words
    columns: slice  # columns whose attributions are summed
    values: Any  # (n,): in units of the log; None if they have none


def row_features(encoded: HistoryArray, scales: Mapping[Any, float]) -> list[RowInput]:
    """Return the row features of a history column, in the order of the layout.

    `scales` has the scale of each numeric field in its own unit, as the encoder learned
    it. Sine and cosine of a cycle are one input, whose value is the part of the cutoff
    as text.
    """
    log: Any = encoded.log
    layout, clock = log.layout, log.timeline.clock
    # (n, n_row_features): logarithms of durations and counts, then means, then waves
    raw = np.concatenate([*log.raw_row_features(encoded.rows)])
    own = iter(raw.T)
    found: list[tuple[str, Any]] = [
        (f"time since the {which} event", _durations(next(own), layout, clock))
        for which in ("last", "first")
    ]
    visits = ["visits"] * layout.counts_visits
    counted = ["events", *["moments"] * (layout.moments is not None), *visits]
    found += [(f"number of {what}", _counts(next(own))) for what in counted]
    found += [
        (f"number of {what}, {half_life}", _counts(next(own)))
        for what in ("events", *visits)
        for half_life in _half_lives(layout, clock)
    ]
    origins = dict(zip(_facts(layout), layout.origins, strict=True))
    found += [
        (name, _amounts(next(own), origins[field], scales.get(field)))
        for name, field in _of_facts("mean", layout, clock)
    ]
    inputs = _of_one_column_each(found)
    return inputs + list(_cycles(layout, len(inputs), encoded.cutoffs))


def sums_of_amounts(
    encoded: HistoryArray, scales: Mapping[Any, float]
) -> list[RowInput]:
    """Return the decayed sums of the linear part of a regressor.

    Arguments are those of `row_features`.
    """
    log: Any = encoded.log
    _, sums = log.row_features_and_sums(encoded.rows)
    layout = log.layout
    names = _of_facts("sum", layout, log.timeline.clock)
    return _of_one_column_each(
        (name, None if field not in scales else own * scales[field])
        for (name, field), own in zip(names, sums.T.astype("float64"), strict=True)
    )


def format_number(value: Any) -> str:
    """Return three digits of a number, or all before the point, with a minus sign.

    Thousands are separated from five digits on: four may be a year.
    """
    if abs(value) < 100:
        text = f"{value:.3g}"
    else:
        text = f"{value:.0f}" if abs(value) < 9_999.5 else f"{value:,.0f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _of_one_column_each(found: Iterable[tuple[str, Any]]) -> list[RowInput]:
    """Return inputs with these names and values, which have one column each."""
    return [RowInput(name, slice(i, i + 1), x) for i, (name, x) in enumerate(found)]


def _cycles(layout: Layout, first: int, cutoffs: Any) -> Iterator[RowInput]:
    """Yield the cycles of the calendar at the cutoff, from column `first` on."""
    if layout.local_clock is not None:
        cutoffs = pd.DatetimeIndex(cutoffs).tz_convert(layout.local_clock.zone)
    for cycle, _, n_harmonics in layout.calendar:
        stop = first + 2 * n_harmonics  # sine and cosine
        name, text = _CYCLES[cycle]
        values = pd.DatetimeIndex(cutoffs).strftime(text)
        yield RowInput(f"{name} of the cutoff", slice(first, stop), values)
        first = stop


def _facts(layout: Layout) -> tuple[str, ...]:
    return layout.channels[: layout.n_decayed]


def _of_facts(what: str, layout: Layout, clock: Clock) -> list[tuple[str, str]]:
    """Return the names of means or sums, and their fields: half-lives are outermost."""
    return [
        (f"{what} of {field}, {half_life}", field)
        for half_life in _half_lives(layout, clock)
        for field in _facts(layout)
    ]


def _half_lives(layout: Layout, clock: Clock) -> list[str]:
    return [f"half-life {_format_length(one, clock)}" for one in layout.half_lives]


def _format_length(length: float, clock: Clock) -> str:
    """Return a duration in its largest unit, such as "30 days"."""
    if clock.unit is None:
        return format_number(length)
    seconds = length / TICKS_PER_SECOND[clock.unit]
    unit, size = next((one for one in _UNITS if seconds >= one[1]), _UNITS[-1])
    number = format_number(seconds / size)
    return f"{number} {unit.removesuffix('s') if number == '1' else unit}"


def _durations(numbers: np.ndarray, layout: Layout, clock: Clock) -> Any:
    """Return durations of ``log1p(ticks / time_unit)``; to the second for datetimes."""
    ticks = np.expm1(numbers) * layout.time_unit
    if clock.unit is None:
        return np.round(ticks, 6)
    seconds = pd.Series(ticks / TICKS_PER_SECOND[clock.unit]).round()
    return pd.to_timedelta(seconds, unit="s").array


def _counts(numbers: np.ndarray) -> np.ndarray:
    return np.round(np.expm1(numbers.astype("float64")), 6)


def _amounts(means: np.ndarray, origin: float, scale: float | None) -> Any:
    """Return means in the unit of the field: see `NumericScale.symlog`."""
    if scale is None:
        return None
    means = means.astype("float64")
    return scale * (np.copysign(np.expm1(np.abs(means)), means) + origin)
