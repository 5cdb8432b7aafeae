"""A fitted encoder of the events of one history column."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from sklearn_seqcrm._encoding._fields import FieldEncoder
from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._store import Clock, Column, Kinds

# Most calendars say little, and a network of this size learns their noise by heart if
# they are as loud as the rest: on simulated journeys that cost .02 in AUC.
CALENDAR_WEIGHT = 0.25


@dataclass(frozen=True, eq=False)
class EventEncoder:
    """Turns the raw events of one history column into channels and codes.

    Made by `learn`, not by hand. Each event is encoded by itself, so that any block of
    a log, or a single new event, becomes what it is among all others.

    Parameters
    ----------
    clock : Clock
        What times and gaps are measured in.
    kinds : dict of str to str
        Kind of each field, to tell whether another log fits.
    fields : dict of str to FieldEncoder
        What was learned of each field.
    layout : Layout
        What channels and codes mean.
    gap_scale : tuple of (float, float)
        Center and scale of the logarithms of gaps.
    row_scale : ndarray of shape (2, n_row_features)
        Center and scale of the row features among the training rows.
    merged_from : Kinds or None, default=None
        Kinds of events with their fields, if the training log was merged of several.
    """

    clock: Clock
    kinds: dict[str, str]
    fields: dict[str, FieldEncoder]
    layout: Layout
    gap_scale: tuple[float, float]
    row_scale: np.ndarray
    merged_from: Kinds | None = None

    def encode(
        self,
        columns: Mapping[str, Column],
        times: np.ndarray,
        gaps: np.ndarray,
        out: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode a block of events.

        Parameters
        ----------
        columns : mapping of str to Column
            The fields of these n events; more columns are not looked at.
        times : ndarray of shape (n,)
            Their times, in ticks of `clock`.
        gaps : ndarray of shape (n,)
            Ticks since the customer's event before; NaN where there is none, or none
            that may be seen.
        out : tuple of (ndarray, ndarray) or None, default=None
            Where to write channels and codes; None: into new arrays.

        Returns
        -------
        channels : ndarray of shape (n, n_channels), float32
            Numbers in the order of ``layout.channels``.
        codes : ndarray of shape (n, n_codes), int32
            Codes in the order of ``layout.codes``.
        """
        channels, codes = self.layout.empty(len(times)) if out is None else out
        self.encode_facts(columns, times, out=channels)
        self.encode_times(times, gaps, out=channels[:, self.layout.gap_channel :])
        self.encode_levels(columns, times, out=codes)
        return channels, codes

    def encode_facts(
        self, columns: Mapping[str, Column], times: np.ndarray, out: np.ndarray
    ) -> None:
        """Write the channels of fields, and the marks of those that are missing.

        Parameters
        ----------
        columns, times : object
            As in `encode`.
        out : ndarray of shape (n, gap_channel) or wider, float32
            Where to write them.
        """
        fact, mark = 0, self.layout.n_decayed
        component = mark + len(self.layout.marked)
        for name, field in self.fields.items():
            if field.n_codes:
                continue
            numbers, is_missing = field.encode(columns[name], times)
            if field.n_components:
                out[:, component : component + field.n_components] = numbers
                component += field.n_components
            else:
                out[:, fact] = numbers
                fact += 1
            if field.some_missing:
                out[:, mark] = is_missing
                mark += 1

    def encode_levels(
        self, columns: Mapping[str, Column], times: np.ndarray, out: np.ndarray
    ) -> None:
        """Write the codes of fields.

        Parameters
        ----------
        columns, times : object
            As in `encode`.
        out : ndarray of shape (n, n_codes), int32
            Where to write them.
        """
        for code, name in enumerate(self.layout.codes):
            out[:, code], _ = self.fields[name].encode(columns[name], times)

    def encode_times(
        self, times: np.ndarray, gaps: np.ndarray, out: np.ndarray
    ) -> None:
        """Write the channels that tell when events happen, which are the last ones.

        Parameters
        ----------
        times, gaps : ndarray of shape (n,)
            As in `encode`.
        out : ndarray of shape (n, n_channels - gap_channel), float32
            Where to write them.
        """
        center, spread = self.gap_scale
        log_gaps = np.log1p(gaps / self.layout.time_unit)
        # The first event of a customer has no gap; 0 is the mean of those that do.
        out[:, 0] = np.nan_to_num((log_gaps - center) / spread)
        out[:, 1:] = CALENDAR_WEIGHT * self.layout.waves(times)

    def knowing(self, columns: Mapping[str, Column]) -> EventEncoder:
        """The same encoder, prepared for many blocks of events of one log.

        Parameters
        ----------
        columns : mapping of str to Column
            The columns that the blocks will be taken from.

        Returns
        -------
        EventEncoder
            Has looked the levels of the log up, once instead of in every block.
        """
        fields = {name: one.knowing(columns[name]) for name, one in self.fields.items()}
        return replace(self, fields=fields)

    def with_digests(self) -> EventEncoder:
        """The same, told from any other that happens to have the same shape."""
        fields = {name: one.learned() for name, one in self.fields.items()}
        layout = replace(self.layout, half_lives=(), digest="", of_events="")
        of_events = repr((layout, fields, self.gap_scale))
        whole = of_events + repr((self.layout.half_lives, self.row_scale.tolist()))
        layout = replace(
            self.layout, digest=_digest(whole), of_events=_digest(of_events)
        )
        return replace(self, layout=layout)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class LearnedEncoding(NamedTuple):
    """What the encoder of all history columns of a table has learned.

    An encoder keeps it as ``_learned``, and others ask `learned_encoding`.

    Parameters
    ----------
    encoders : dict of str to EventEncoder
        What was learned of each history column.
    reading : ColumnRoles
        Columns of the table.
    cut_off : list of str
        History columns that a lookback had cut off in fit.
    """

    encoders: dict[Any, EventEncoder]
    reading: Any
    cut_off: list[Any]


def learned_encoding(transformer: Any) -> LearnedEncoding | None:
    """What a transformer has learned, if it is a fitted encoder of histories.

    Parameters
    ----------
    transformer : object
        Any step of a pipeline.
    """
    learned = getattr(transformer, "_learned", None)
    return learned if isinstance(learned, LearnedEncoding) else None
