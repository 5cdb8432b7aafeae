"""A log whose events are numbers that a network can read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from sklearn_seqcrm.events._decay import decayed_sums
from sklearn_seqcrm.events._log import Log
from sklearn_seqcrm.events._rows import Rows
from sklearn_seqcrm.events._timeline import Timeline, frozen

_ROWS_AT_ONCE = 2**13  # their features stay in the cache


@dataclass(frozen=True)
class Encoding:
    """What the numbers of an encoded log mean.

    Parameters
    ----------
    channels : tuple of str
        Names of the float channels.
    n_decayed : int
        The first `n_decayed` channels are facts whose decayed means are row features.
    codes : tuple of str
        Names of the coded fields.
    n_levels : tuple of int
        Number of codes of each, from 0 (unseen) on.
    time_unit : float
        Ticks of the log in one typical gap between events.
    half_lives : tuple of float
        Half-lives of decayed counts and means, in ticks.
    calendar : tuple of (str, float, int)
        Name, period in ticks and number of harmonics of each cycle that the cutoff is
        read by.
    digest : str, default=""
        Stands for everything learned, so that encoders of one shape are told apart.
    """

    channels: tuple[str, ...]
    n_decayed: int
    codes: tuple[str, ...]
    n_levels: tuple[int, ...]
    time_unit: float
    half_lives: tuple[float, ...]
    calendar: tuple[tuple[str, float, int], ...]
    digest: str = ""

    @property
    def gap_channel(self) -> int:
        """Position of the gap to the previous event among the channels."""
        return len(self.channels) - len(cycle_names(self.calendar)) - 1

    @property
    def row_features(self) -> list[str]:
        """Names of what `EncodedLog.row_features` returns."""
        decays = range(len(self.half_lives))
        names = ["since_last", "tenure", "n_events"]
        names += [f"count_{k}" for k in decays]
        names += [
            f"{channel}_{k}"
            for k in decays
            for channel in self.channels[: self.n_decayed]
        ]
        # A field may be called "count", for example.
        return unlike([*names, *cycle_names(self.calendar)], [])


class EncodedLog(Log):
    """Float channels and integer codes of the events that some rows can see.

    Made by `HistoryEncoder.transform`, not by hand.

    Parameters
    ----------
    timeline : Timeline
        Customers, offsets and times of the events.
    channels : ndarray of shape (n_events, n_channels), float32
        Scaled numbers, finite.
    codes : ndarray of shape (n_events, n_codes), int32
        Codes of categories: 0 unseen in training, 1 missing, more for levels.
    encoding : Encoding
        What they mean. Only logs with equal encodings go together.
    row_scale : ndarray of shape (2, n_row_features)
        Center and scale of the row features among the training rows.
    names : tuple of (str, str)
        What the customer and the time column were called.
    """

    def __init__(
        self,
        timeline: Timeline,
        channels: np.ndarray,
        codes: np.ndarray,
        encoding: Encoding,
        row_scale: np.ndarray,
        names: tuple[str, str],
    ) -> None:
        super().__init__(timeline, names)
        self._channels = frozen(channels)
        self._codes = frozen(codes)
        self._encoding = encoding
        self._row_scale = frozen(row_scale)

    @property
    def channels(self) -> np.ndarray:
        """Scaled numbers, shape (n_events, n_channels), float32."""
        return self._channels

    @property
    def codes(self) -> np.ndarray:
        """Codes of categories, shape (n_events, n_codes), int32."""
        return self._codes

    @property
    def encoding(self) -> Encoding:
        """What channels and codes mean."""
        return self._encoding

    @property
    def fields(self) -> list[str]:
        """Names of the channels, then of the codes."""
        return [*self._encoding.channels, *self._encoding.codes]

    def row_features(self, rows: Rows) -> np.ndarray:
        """What depends on the cutoff, scaled as among the training rows.

        Parameters
        ----------
        rows : Rows
            Views of this log.

        Returns
        -------
        ndarray of shape (n, n_row_features), float32
            Columns named by ``encoding.row_features``. What an empty history does not
            have is 0, the mean.
        """
        center, scale = self._row_scale
        features = np.empty((len(rows.codes), len(center)), "float32")
        done = 0
        for raw in raw_row_features(rows, self._encoding):
            # A far future or a new kind of customer must not blow a network up.
            scaled = np.clip((raw - center) / scale, -10, 10)
            features[done : done + len(raw)] = np.nan_to_num(scaled)
            done += len(raw)
        return features

    def _columns_at(self, index: np.ndarray) -> dict[str, Any]:
        channels = zip(self._encoding.channels, self._channels[index].T, strict=True)
        codes = zip(self._encoding.codes, self._codes[index].T, strict=True)
        return {**dict(channels), **dict(codes)}

    def _take(self, timeline: Timeline, index: np.ndarray) -> Self:
        return self._with(timeline, self._channels[index], self._codes[index])

    def _stack(self, logs: Sequence[Log], timeline: Timeline) -> Self:
        for log in logs:
            assert isinstance(log, EncodedLog)
            if log._encoding != self._encoding:
                raise ValueError(
                    "Histories of two different HistoryEncoders cannot share a column; "
                    "transform both with the same one."
                )
        return self._with(
            timeline,
            np.concatenate([log._channels for log in logs]),  # type: ignore[attr-defined]
            np.concatenate([log._codes for log in logs]),  # type: ignore[attr-defined]
        )

    def _with(
        self, timeline: Timeline, channels: np.ndarray, codes: np.ndarray
    ) -> Self:
        encoding, scale = self._encoding, self._row_scale
        return type(self)(timeline, channels, codes, encoding, scale, self._names)


def raw_row_features(rows: Rows, encoding: Encoding) -> Iterator[np.ndarray]:
    """Row features before they are scaled; NaN where an empty history has none.

    Parameters
    ----------
    rows : Rows
        Views of an encoded log.
    encoding : Encoding
        Units and half-lives.

    Yields
    ------
    ndarray of shape (up to 8,192, n_row_features)
        Of some rows, in order: ``log1p`` of durations in typical gaps and of counts;
        decayed means of the channels, ``sum / (count + 1)``; sines and cosines of the
        cutoff.
    """
    log, times = rows.log, rows.log.timeline.times
    assert isinstance(log, EncodedLog)
    facts = log.channels[:, : encoding.n_decayed]
    sums = decayed_sums(rows, facts, np.asarray(encoding.half_lives))
    for i in range(0, len(sums), _ROWS_AT_ONCE):
        some = slice(i, i + _ROWS_AT_ONCE)
        start, stop, cutoff = rows.start[some], rows.stop[some], rows.cutoff[some]
        filled = stop > start
        ages = np.full((len(filled), 2), np.nan)
        for column, event in enumerate((stop - 1, start)):
            age = cutoff[filled] - times[event[filled]]
            ages[filled, column] = np.log1p(age / encoding.time_unit)
        count, totals = sums[some, :, 0], sums[some, :, 1:]
        means = totals / (count[:, :, None] + 1)
        yield np.column_stack(
            [
                ages,
                np.log1p(stop - start),
                np.log1p(count),
                means.reshape(len(filled), -1),
                cycles(cutoff, encoding.calendar),
            ]
        )


def cycles(times: np.ndarray, calendar: Sequence[tuple[str, float, int]]) -> np.ndarray:
    """Sines and cosines of times, for each cycle and harmonic.

    Parameters
    ----------
    times : ndarray of shape (n,)
        Ticks since the epoch.
    calendar : sequence of (str, float, int)
        Name, period in ticks and number of harmonics of each cycle.

    Returns
    -------
    ndarray of shape (n, 2 * sum of harmonics), float32
        Columns named by `cycle_names`.
    """
    columns = []
    for _, period, n_harmonics in calendar:
        # The remainder is exact; after it float32 is enough, and many times as fast.
        whole = times.dtype.kind == "i" and float(period).is_integer()
        since = np.mod(times, int(period) if whole else period)
        phase = (since * (2 * np.pi / period)).astype("float32")
        for harmonic in range(1, n_harmonics + 1):
            columns += [np.sin(harmonic * phase), np.cos(harmonic * phase)]
    return np.array(columns, dtype="float32").reshape(len(columns), len(times)).T


def cycle_names(calendar: Sequence[tuple[str, float, int]]) -> list[str]:
    """Name the columns of `cycles`."""
    return [
        f"{name}_{wave}{harmonic}"
        for name, _, n_harmonics in calendar
        for harmonic in range(1, n_harmonics + 1)
        for wave in ("sin", "cos")
    ]


def unlike(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Make names differ from one another, and from those that are taken.

    Parameters
    ----------
    names : sequence of str
        Names as they are wanted.
    taken : sequence of str
        Names that stay as they are.

    Returns
    -------
    list of str
        The names, with underscores behind those that would be there twice.

    Examples
    --------
    >>> unlike(["time_gap", "hour_sin1"], ["amount", "time_gap"])
    ['time_gap_', 'hour_sin1']
    """
    used, found = set(taken), []
    for name in names:
        while name in used:
            name = f"{name}_"
        used.add(name)
        found.append(name)
    return found
