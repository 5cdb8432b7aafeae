"""What the numbers of an encoded log mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sklearn_seqcrm._encoding._calendar import cycle_names, cycles
from sklearn_seqcrm._encoding._local_clock import LocalClock
from sklearn_seqcrm._store import unlike


@dataclass(frozen=True)
class Layout:
    """What the numbers of an encoded log mean.

    Parameters
    ----------
    channels : tuple of str
        Names of the float channels: facts, marks, components of vectors, and times.
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
        Name, period in ticks and number of harmonics of each cycle that events and
        cutoff are read by.
    local_clock : LocalClock or None, default=None
        The clock that shows these cycles; None: that of the log.
    origins : tuple of float, default=()
        What a fact of 0 is before its tails are folded in, with the sign turned: its
        center over its scale, for each of the `n_decayed`.
    marked : tuple of str, default=()
        Facts and vectors that have a channel more, behind the facts, which marks
        missing values.
    vectors : tuple of (str, int), default=()
        Fields of vectors, and the number of their components, which have a channel
        each behind the marks.
    digest : str, default=""
        Stands for everything learned, so that encoders of one shape are told apart.
    of_events : str, default=""
        Stands for what was learned of single events. Encoders that agree in it turn
        an event into the same channels and codes, whatever rows see it.
    """

    channels: tuple[str, ...]
    n_decayed: int
    codes: tuple[str, ...]
    n_levels: tuple[int, ...]
    time_unit: float
    half_lives: tuple[float, ...]
    calendar: tuple[tuple[str, float, int], ...]
    local_clock: LocalClock | None = None
    origins: tuple[float, ...] = ()
    marked: tuple[str, ...] = ()
    vectors: tuple[tuple[str, int], ...] = ()
    digest: str = ""
    of_events: str = ""

    def empty(self, n_events: int) -> tuple[np.ndarray, np.ndarray]:
        """Arrays for the channels, float32, and the codes, int32, of some events."""
        return (
            np.empty((n_events, len(self.channels)), "float32"),
            np.empty((n_events, len(self.codes)), "int32"),
        )

    def waves(self, times: np.ndarray) -> np.ndarray:
        """Sines and cosines of the calendar at some times.

        Parameters
        ----------
        times : ndarray of shape (n,)
            Ticks since the epoch.

        Returns
        -------
        ndarray of shape (n, n_waves), float32
            As of `cycles`.
        """
        if self.local_clock is not None and self.calendar:
            times = self.local_clock.read(times)
        return cycles(times, self.calendar)

    @property
    def gap_channel(self) -> int:
        """Position of the gap to the previous event among the channels."""
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
        return unlike([*names, *cycle_names(self.calendar)])

    @property
    def sums(self) -> list[str]:
        """Names of what `EncodedLog.sums` returns."""
        facts = self.channels[: self.n_decayed]
        return [f"{f}_sum_{k}" for k in range(len(self.half_lives)) for f in facts]
