"""A fitted encoder of the events of one history column."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from sklearn_seqcrm._encoding._fields import FieldEncoder
from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._encoding._level_vectors import LevelVectors
from sklearn_seqcrm._store import Clock, Column, FieldSchema, Kinds

# Factor on the channels of the calendar. Most calendars hold little signal, and a
# network of this size memorises their noise if they are as large as other channels: on
# simulated journeys a factor of 1 cost .02 in AUC.
CALENDAR_WEIGHT = 0.25


@dataclass(frozen=True, eq=False)
class EventEncoder:
    """A fitted encoder of the raw events of one history column.

    Made by `learn`, not by hand. Each event is encoded by itself, so that a single new
    event gets the numbers that it would have in any block of a log.
    """

    clock: Clock  # unit of times and interarrival times
    # Schema of each field, to check whether another log fits.
    schema: dict[str, FieldSchema]
    fields: dict[str, FieldEncoder]
    layout: Layout  # what channels and codes mean
    # Center and scale of the logarithms of interarrival times.
    interarrival_scale: tuple[float, float]
    # (2, n_row_features): center and scale of the row features among the training rows.
    row_scale: np.ndarray
    # Kinds of events with their fields, if the training log has kinds.
    merged_from: Kinds | None = None
    # Vectors of the levels of fields that have more levels than codes, if steps are
    # moments.
    level_vectors: dict[str, LevelVectors] = field(default_factory=dict)

    def encode(
        self,
        columns: Mapping[str, Column],
        times: np.ndarray,
        interarrival: np.ndarray,
        out: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Encode a block of n events.

        `columns` are their fields, perhaps among others, `times` (n,) ticks of `clock`,
        and `interarrival` (n,) ticks since the customer's previous event; NaN if there
        is none that the rows see. Channels (n, n_channels), float32, and codes
        (n, n_codes), int32, are written into `out`, in the order of the layout.
        """
        channels, codes = out
        self.encode_facts(columns, times, out=channels)
        times_begin = self.layout.interarrival_channel
        self.encode_times(times, interarrival, out=channels[:, times_begin:])
        self.encode_levels(columns, times, out=codes)

    def encode_facts(
        self, columns: Mapping[str, Column], times: np.ndarray, out: np.ndarray
    ) -> None:
        """Write the channels of fields, and the marks of missing values.

        Arguments are as in `encode`; `out` is of shape (n, interarrival_channel) or
        wider.
        """
        for name, own in self.layout.of_fields.items():
            encoder = self.level_vectors.get(name, self.fields[name])
            # (n,) into a column, (n, n_components) into a slice of columns.
            out[:, own.values], is_missing = encoder.encode(columns[name], times)
            if own.mark is not None:
                out[:, own.mark] = is_missing

    def encode_levels(
        self, columns: Mapping[str, Column], times: np.ndarray, out: np.ndarray
    ) -> None:
        """Write the codes of fields, (n, n_codes); arguments are as in `encode`."""
        for code, name in enumerate(self.layout.codes):
            out[:, code], _ = self.fields[name].encode(columns[name], times)

    def encode_times(
        self, times: np.ndarray, interarrival: np.ndarray, out: np.ndarray
    ) -> None:
        """Write the channels of times: the interarrival time and the calendar.

        Arguments are as in `encode`; `out` has the columns of these channels only.
        """
        center, spread = self.interarrival_scale
        scaled = (np.log1p(interarrival / self.layout.time_unit) - center) / spread
        # A first event has no interarrival time; 0 is the mean of those that have.
        scaled[np.isnan(scaled)] = 0
        out[:, 0] = scaled
        out[:, 1:] = CALENDAR_WEIGHT * self.layout.waves(times)

    def prepared_for(self, columns: Mapping[str, Column]) -> EventEncoder:
        """Return an equal encoder that encodes many blocks of one log faster.

        It has looked up the levels of the log, once instead of in every block.
        """
        fields = {n: one.prepared_for(columns[n]) for n, one in self.fields.items()}
        vectors = {
            name: one.prepared_for(columns[name])
            for name, one in self.level_vectors.items()
        }
        return replace(self, fields=fields, level_vectors=vectors)

    def with_digests(self) -> EventEncoder:
        """Return the encoder with digests of what it has learned in its layout."""
        fields = {name: one.learned() for name, one in self.fields.items()}
        layout = replace(self.layout, half_lives=(), digest="", of_events="")
        of_events = repr((layout, fields, self.interarrival_scale))
        if self.level_vectors:
            of_events += repr([one.learned() for one in self.level_vectors.values()])
        # Half-lives concern row features only, so that `of_events` leaves them out.
        whole = of_events + repr((self.layout.half_lives, self.row_scale.tolist()))
        digest, of_events = (
            hashlib.sha256(one.encode()).hexdigest()[:16] for one in (whole, of_events)
        )
        layout = replace(self.layout, digest=digest, of_events=of_events)
        return replace(self, layout=layout)


class LearnedEncoding(NamedTuple):
    """What a fitted encoder of all history columns of a table has learned.

    An encoder keeps it as ``_learned``; get it by `learned_encoding`.
    """

    encoders: dict[Any, EventEncoder]  # by history column
    roles: Any  # ColumnRoles: roles of the columns of the table
    seen: Any  # dict of SeenHistories: how those of each column were in `fit`

    @property
    def cut_off(self) -> list[Any]:
        """History columns of which a lookback left out events in `fit`."""
        return [name for name, one in self.seen.items() if one.is_cut_off]


def learned_encoding(transformer: Any) -> LearnedEncoding | None:
    """Return what a transformer has learned, if it is a fitted `HistoryEncoder`."""
    learned = getattr(transformer, "_learned", None)
    return learned if isinstance(learned, LearnedEncoding) else None
