"""The layout of encoded events: channels, codes, row features.

Channels of an event, in this order; codes are an array of their own:

    | amount | due | amount_missing | text_missing | text_0 | text_1 | interarrival_...
    |    facts     |            marks              |     vectors     |  times
                   ^ n_decayed                  interarrival_channel ^

"times" are the interarrival time (`interarrival_time`) and the calendar (`hour_sin1`).
Ask a `Layout` for positions (`of_fields`, `interarrival_channel`); do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sklearn_seqcrm._encoding._calendar import LocalClock, cycle_names, periods_of
from sklearn_seqcrm._encoding._visits import Visits
from sklearn_seqcrm._store import unique_names


class FieldChannels(NamedTuple):
    """Positions of the channels of one field."""

    values: int | slice  # the channel of a number, or the channels of a vector
    mark: int | None  # the channel that marks missing values, if there is one


@dataclass(frozen=True)
class Layout:
    """What the numbers of an encoded log mean."""

    # Names of the float channels: facts (fields of numbers), marks of missing values,
    # components of vectors, and times.
    channels: tuple[str, ...]
    # Number of facts. Their decayed means are row features.
    n_decayed: int
    codes: tuple[str, ...]  # names of the coded fields
    n_levels: tuple[int, ...]  # number of codes of each, from 0 (unseen) on
    time_unit: float  # typical interarrival time, in ticks of the log
    half_lives: tuple[float, ...]  # half-lives of decayed counts and means, in ticks
    # Name, period in ticks and number of harmonics of each cycle that times of events
    # and cutoffs are encoded by.
    calendar: tuple[tuple[str, float, int], ...]
    # Local time by which cycles are computed; None: the time of the log.
    local_clock: LocalClock | None = None
    # Center over scale of each fact: what `symexp` adds to scaled amounts, so that 0 is
    # the amount 0 and not the median.
    origins: tuple[float, ...] = ()
    # Facts and vectors with a further channel that marks missing values.
    marked: tuple[str, ...] = ()
    # Fields of vectors and the numbers of their components.
    vectors: tuple[tuple[str, int], ...] = ()
    # Digest of everything learned, which differs between encoders of one shape.
    digest: str = ""
    # Digest of what encodes single events. Encoders that agree in it turn an event into
    # the same channels and codes, whatever rows see it.
    of_events: str = ""
    # Length in ticks of the period whose events are one step of a network; 0: events at
    # the same time. None: each event is a step.
    moments: float | None = None
    # How events come in visits; None: they do not.
    visits: Visits | None = None

    def empty(self, n_events: int) -> tuple[np.ndarray, np.ndarray]:
        """Return empty arrays for channels, float32, and codes, int32, of events."""
        return (
            np.empty((n_events, len(self.channels)), "float32"),
            np.empty((n_events, len(self.codes)), "int32"),
        )

    def waves(self, times: np.ndarray) -> np.ndarray:
        """Return sines and cosines of each calendar cycle and harmonic.

        `times` (n,) are ticks since the epoch. Returns float32 columns named by
        `cycle_names`, (n, 2 * sum of harmonics).
        """
        if self.local_clock is not None and self.calendar:
            times = self.local_clock.local(times)
        columns = []
        for _, period, n_harmonics in self.calendar:
            # The remainder of integers is exact. Of so small a number, float32 has
            # enough digits, and its sines are many times as fast.
            whole = times.dtype.kind == "i" and float(period).is_integer()
            since = np.mod(times, int(period) if whole else period)
            phase = (since * (2 * np.pi / period)).astype("float32")
            for harmonic in range(1, n_harmonics + 1):
                columns += [np.sin(harmonic * phase), np.cos(harmonic * phase)]
        return np.array(columns, dtype="float32").reshape(len(columns), len(times)).T

    def periods(self, times: np.ndarray) -> np.ndarray:
        """Return the period of each event, (n,): equal numbers belong to one moment.

        `times` (n,), ticks since the epoch, are those of one customer's events and then
        of the next one's. The result is the times themselves if moments are events at
        the same time, else the number of the period since the epoch, in local time if
        the layout has one.
        """
        return periods_of(times, self.moments, self.local_clock)

    @property
    def of_fields(self) -> dict[str, FieldChannels]:
        """Positions of the channels of each field that is no code."""
        at = self.n_decayed
        marks = {name: at + i for i, name in enumerate(self.marked)}
        facts = self.channels[:at]
        found = {
            name: FieldChannels(i, marks.get(name)) for i, name in enumerate(facts)
        }
        at += len(marks)
        for name, size in self.vectors:
            found[name] = FieldChannels(slice(at, at + size), marks.get(name))
            at += size
        return found

    @property
    def interarrival_channel(self) -> int:
        """Position of the time since the previous event, the first of the times."""
        return len(self.channels) - len(cycle_names(self.calendar)) - 1

    @property
    def sources(self) -> list[str | None]:
        """Field behind each channel, and then each code; None for the event's time."""
        known = [*self.channels[: self.n_decayed], *self.marked]
        known += [name for name, size in self.vectors for _ in range(size)]
        times = [None] * (len(self.channels) - len(known))
        return [*known, *times, *self.codes]

    @property
    def row_features(self) -> list[str]:
        """Names of the columns that `EncodedLog.row_features` returns."""
        decays = range(len(self.half_lives))
        names = ["since_last", "tenure", "n_events"]
        names += ["n_moments"] * (self.moments is not None)
        names += ["n_visits"] * self.counts_visits
        names += [f"count_{k}" for k in decays]
        names += [f"visits_{k}" for k in decays if self.counts_visits]
        names += [
            f"{channel}_{k}"
            for k in decays
            for channel in self.channels[: self.n_decayed]
        ]
        # A field may be called "count", for example.
        return unique_names([*names, *cycle_names(self.calendar)])

    @property
    def first_mean(self) -> int:
        """Column of `row_features` with the first of the decayed means."""
        n_decayed_counts = (1 + self.counts_visits) * len(self.half_lives)
        return 2 + self.n_counts + n_decayed_counts

    @property
    def counted_visits(self) -> Visits | None:
        """Visits whose numbers are row features; not beside those of periods."""
        return None if self.moments else self.visits

    @property
    def counts_visits(self) -> bool:
        """Whether numbers of visits are row features."""
        return self.counted_visits is not None

    @property
    def n_counts(self) -> int:
        """Number of counts of a row: of its events, moments and visits."""
        return 1 + (self.moments is not None) + self.counts_visits

    @property
    def n_summed(self) -> int:
        """Number of an event's numbers whose decayed sums make row features.

        They are whether a visit starts, if visits are counted, and the facts.
        """
        return self.counts_visits + self.n_decayed

    @property
    def sums(self) -> list[str]:
        """Names of the columns that `sums_of_amounts` returns."""
        facts = self.channels[: self.n_decayed]
        return [f"{f}_sum_{k}" for k in range(len(self.half_lives)) for f in facts]
