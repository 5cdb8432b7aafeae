"""One history column of a scorer: its encoder, its readers and its states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sklearn_seqcrm._encoding import (
    EventEncoder,
    row_features_of,
    scale_row_features,
    sums_of_amounts,
    symexp,
)
from sklearn_seqcrm._ragged import blocks
from sklearn_seqcrm._store import LONGEST, Column
from sklearn_seqcrm.serving._streaming._arrivals import Arrivals
from sklearn_seqcrm.serving._streaming._customer_states import (
    CustomerStateTable,
    StoredVectors,
)
from sklearn_seqcrm.serving._streaming._event_reader import (
    EventReader,
    PackedState,
    portions,
    strides,
)
from sklearn_seqcrm.serving._streaming._numpy_rnn import NumpyRNN

_WIDTH = 4  # numbers of an event in work, as `encode_rows` has them


class StreamedHistory:
    """What is known of all customers' events of one history column.

    Of each customer the record has the fields ``first`` and ``last`` (times of these
    events), ``count``, ``sums`` (decayed counts and sums at the last event; with
    `has_sums`, those of symexp facts behind them), and, of each network, ``weights``
    and the fields of `StoredVectors`.

    Parameters
    ----------
    name : str
        Name of the history column.
    encoder : EventEncoder
        What was learned of its events.
    readers : sequence of EventReader
        One for each network, for events of many customers.
    steps : sequence of NumpyRNN
        The same, for single ones.
    n_states : int
        States of the cells that a network has in work for an event.
    most : int or None
        Customers to remember; None: all.
    dtype : {"float32", "float16"}
        What vectors are stored in that are no sums over all events.
    has_sums : bool
        Whether rows see sums of the facts before their tails were folded in.

    Attributes
    ----------
    states : CustomerStateTable
        The records.
    span : tuple of (int, int) or (float, float), or None
        Times of the first and the last event of all. None: there was none.
    """

    def __init__(
        self,
        name: str,
        encoder: EventEncoder,
        readers: Sequence[EventReader],
        steps: Sequence[NumpyRNN],
        n_states: int,
        most: int | None,
        dtype: str,
        has_sums: bool,
    ) -> None:
        self.name = name
        self.encoder = encoder
        self.stored = StoredVectors(dtype, readers[0].adds_up)
        start = _start_record(encoder, readers, self.stored, has_sums)
        self.states = CustomerStateTable(start)
        self.span: tuple[Any, Any] | None = None
        self._readers = readers
        self._steps = steps
        self._n_states = n_states
        self._most = most
        self._has_sums = has_sums
        self._rates = np.log(2) / np.asarray(encoder.layout.half_lives)

    # Events in ------------------------------------------------------------------------

    def are_late(self, arrivals: Arrivals) -> np.ndarray:
        """Which events are before the last one of their customer, shape (n_events,)."""
        slots = self.states.find(arrivals.customers)
        known = np.flatnonzero(slots >= 0)
        late = np.zeros(len(arrivals.times), dtype=bool)
        if not len(known):
            return late
        last = self.states.records["last"][slots[known]]
        first = arrivals.offsets[known]
        # Mostly not even the first one is late.
        for i in np.flatnonzero(arrivals.times[first] < last).tolist():
            own = slice(first[i], arrivals.offsets[known[i] + 1])
            late[own] = arrivals.times[own] < last[i]
        return late

    def take(self, arrivals: Arrivals) -> None:
        """Read new events, none of them late."""
        span = self.span_with(arrivals.times.min(), arrivals.times.max())
        encoder = self.encoder
        if len(arrivals.times) > len(arrivals.customers):  # a table of some size
            encoder = encoder.prepared_for(arrivals.columns)
        for some in portions(arrivals.offsets):
            slots = self.states.add(arrivals.customers[some])
            offsets = arrivals.offsets[some.start : some.stop + 1]
            own = slice(offsets[0], offsets[-1])
            times, offsets = arrivals.times[own], offsets - offsets[0]
            columns = {
                name: Column(column.values[own], column.categories)
                for name, column in arrivals.columns.items()
            }
            gaps = self._gaps(slots, times, offsets)
            channels, codes = _encode(encoder, columns, times, gaps)
            for those, done, length in strides(np.diff(offsets), self._n_states):
                index = (offsets[those] + done)[:, None] + np.arange(length)  # (B, T)
                numbers = (one[index] for one in (times, gaps, channels, codes))
                self.advance(slots[those], *numbers)
            if self._most is not None:
                self.states.keep_latest(self._most)
        self.span = span

    def take_one(
        self,
        customer: Any,
        tick: Any,
        gap: float,
        channels: np.ndarray,
        codes: np.ndarray,
    ) -> None:
        """Read a single event that has been encoded, and is not late.

        Parameters
        ----------
        customer : hashable
            The customer.
        tick : int or float
            Time of the event, on the clock of the encoder.
        gap : float
            Ticks since the event before; NaN if there is none.
        channels : ndarray of shape (F,), float32
            Channels.
        codes : ndarray of shape (C,), int32
            Codes.
        """
        span = self.span_with(tick, tick)
        [slot] = self.states.add([customer])
        records = self.states.records
        record = records[slot]  # not a copy
        gap_in_units = 0.0 if np.isnan(gap) else gap / self.encoder.layout.time_unit
        for number, step in enumerate(self._steps):
            vectors, weights = (
                self.stored.load(record, number),
                record["weights"][number],
            )
            step.advance(vectors, weights, channels, codes, gap_in_units)
            self.stored.store(records, slot, number, vectors)
        times = np.array([[tick]], self.encoder.clock.dtype)
        own = self.states.records[slot : slot + 1]
        own["sums"] = self._sums_after(own, times, channels[None, None])
        if not record["count"]:
            record["first"] = tick
        record["last"] = tick
        record["count"] += 1
        self.span = span
        if self._most is not None:
            self.states.keep_latest(self._most, slot)

    def span_with(self, first: Any, last: Any) -> tuple[Any, Any]:
        """Times of the first and the last event of all, with new ones.

        Raises
        ------
        ValueError
            If they are further apart than their integers can tell.
        """
        clock = self.encoder.clock
        number = int if clock.dtype == "int64" else float
        low, high = number(first), number(last)
        if self.span is not None:
            low, high = min(low, self.span[0]), max(high, self.span[1])
        if high - low > LONGEST:
            raise ValueError(
                f"Events for {self.name!r} would be at {clock.as_scalar(low)} to "
                f"{clock.as_scalar(high)}, further apart than times of their unit can "
                "tell. Leave out times that stand for 'never' or 'unknown'."
            )
        return low, high

    def _gaps(
        self, slots: np.ndarray, times: np.ndarray, offsets: np.ndarray
    ) -> np.ndarray:
        """Ticks since the event before, shape (n_events,); NaN if there is none."""
        records, first = self.states.records, offsets[:-1]
        gaps = np.empty(len(times))
        gaps[1:] = np.diff(times)
        before = records["last"][slots]
        begun = records["count"][slots] > 0
        gaps[first] = np.where(begun, times[first] - before, np.nan)
        return gaps

    def advance(
        self,
        slots: np.ndarray,
        times: np.ndarray,
        gaps: np.ndarray,
        channels: np.ndarray,
        codes: np.ndarray,
    ) -> None:
        """Let T encoded events of each of B customers into the records.

        Parameters
        ----------
        slots : ndarray of shape (B,), int64
            Slots of different customers.
        times : ndarray of shape (B, T)
            Times, ascending.
        gaps : ndarray of shape (B, T), float64
            Ticks since the event before; NaN for the first of a customer.
        channels : ndarray of shape (B, T, F), float32
            Channels.
        codes : ndarray of shape (B, T, C), int32
            Codes.
        """
        records = self.states.records
        gaps_in_units = np.nan_to_num(gaps / self.encoder.layout.time_unit)
        tensors = (
            torch.from_numpy(channels),
            torch.from_numpy(codes.astype("int64")),
            torch.from_numpy(gaps_in_units.astype("float32")),
        )
        before = records[slots]
        for number, reader in enumerate(self._readers):
            after = reader.advance(self._packed(before, number), *tensors)
            self.stored.store(records, slots, number, after.vectors.numpy())
            records["weights"][slots, number] = after.weights.numpy()
        records["sums"][slots] = self._sums_after(before, times, channels)
        is_first = before["count"] == 0
        records["first"][slots[is_first]] = times[is_first, 0]
        records["last"][slots] = times[:, -1]
        records["count"][slots] += times.shape[1]

    def _sums_after(
        self, before: np.ndarray, times: np.ndarray, channels: np.ndarray
    ) -> np.ndarray:
        """Decayed counts and sums after T events, shape (B, K, n_numbers)."""
        layout = self.encoder.layout
        facts = channels[:, :, : layout.n_decayed]
        parts = [np.ones((*times.shape, 1)), facts]
        if self._has_sums:
            amounts = symexp(facts.reshape(times.size, layout.n_decayed), layout)
            parts.append(amounts.reshape(facts.shape))
        numbers = np.concatenate(parts, axis=2, dtype="float64")
        ages = times[:, -1:] - times
        fade = np.exp(ages[:, None] * -self._rates[:, None])  # (B, K, T)
        since = times[:, -1] - before["last"]
        return self._faded(before, since) + np.matmul(fade, numbers)

    def _faded(self, records: np.ndarray, since: np.ndarray) -> np.ndarray:
        """Decayed counts and sums some ticks after the last event."""
        since = np.where(records["count"] > 0, since, 0)
        return np.exp(since[:, None] * -self._rates)[:, :, None] * records["sums"]

    # Rows out -------------------------------------------------------------------------

    def refuse_early(self, slots: np.ndarray, cutoff: np.ndarray, exact: bool) -> None:
        """Raise a ValueError for cutoffs before an event that has been read.

        Parameters
        ----------
        slots : ndarray of shape (n,), int64
            Slots of the customers, -1 for an unknown one.
        cutoff : ndarray of shape (n,)
            Cutoffs on the clock of the encoder.
        exact : bool
            Whether rows see the events at their cutoff.
        """
        known = np.flatnonzero(slots >= 0)
        if not len(known):
            return
        last = self.states.records["last"][slots[known]]
        early = last > cutoff[known] if exact else last >= cutoff[known]
        if early.any():
            at, clock = early.argmax(), self.encoder.clock
            way = (
                "" if exact else " (allow_exact_matches=True lets rows see those at it)"
            )
            raise ValueError(
                f"{early.sum()} of {len(slots)} rows have a cutoff that is not after "
                f"the last event in {self.name!r} of their customer{way}: the first of "
                f"them is at {clock.as_scalar(cutoff[known[at]])}, with an event at "
                f"{clock.as_scalar(last[at])}. States have read these events, and "
                "cannot go back; attach the rows to a log to score the past."
            )

    def features(
        self, records: np.ndarray, cutoff: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Row features and sums, as `EncodedLog.row_features_and_sums` has them.

        Parameters
        ----------
        records : ndarray of shape (n,), structured
            Records of the customers.
        cutoff : ndarray of shape (n,)
            Cutoffs on the clock of the encoder.

        Returns
        -------
        features : ndarray of shape (n, n_row_features), float32
            Row features.
        sums : ndarray of shape (n, n_sums), float32
            Sums of facts before their tails were folded in; none of them unless
            `has_sums`.
        """
        filled = records["count"] > 0
        ages = np.full((len(records), 2), np.nan)
        for column, name in enumerate(("last", "first")):
            ages[filled, column] = (cutoff - records[name])[filled]
        sums = self._faded(records, cutoff - records["last"])
        layout = self.encoder.layout
        sums, amounts = np.split(sums, [1 + layout.n_decayed], axis=2)
        raw = row_features_of(ages, records["count"], sums, cutoff, layout)
        features = scale_row_features(raw, self.encoder.row_scale).astype("float32")
        return features, sums_of_amounts(amounts)

    def pooled(
        self, records: np.ndarray, cutoff: np.ndarray, number: int
    ) -> torch.Tensor:
        """What a network reads of some customers' histories, shape (n, output_size).

        Parameters
        ----------
        records : ndarray of shape (n,), structured
            Records of the customers.
        cutoff : ndarray of shape (n,)
            Cutoffs on the clock of the encoder.
        number : int
            Which network.
        """
        since = np.where(records["count"] > 0, cutoff - records["last"], 0)
        age = (since / self.encoder.layout.time_unit).astype("float32")
        state = self._packed(records, number)
        return self._readers[number].read(state, torch.from_numpy(age))

    def pooled_one(self, record: np.ndarray, cutoff: Any, number: int) -> np.ndarray:
        """As `pooled` of one customer, shape (output_size,).

        Parameters
        ----------
        record : ndarray of shape (1,), structured
            Record of the customer.
        cutoff : int or float
            Cutoff on the clock of the encoder.
        number : int
            Which network.
        """
        one = record[0]
        since = cutoff - one["last"] if one["count"] else 0
        vectors = self.stored.load(one, number)
        age = since / self.encoder.layout.time_unit
        return self._steps[number].read(vectors, one["weights"][number], age)

    def _packed(self, records: np.ndarray, number: int) -> PackedState:
        """States of one network at some records."""
        vectors = self.stored.load(records, number)
        weights = torch.from_numpy(records["weights"][:, number])
        return PackedState(torch.from_numpy(vectors), weights)


def _start_record(
    encoder: EventEncoder,
    readers: Sequence[EventReader],
    stored: StoredVectors,
    has_sums: bool,
) -> np.ndarray:
    """Record of a customer without events, shape (1,)."""
    layout, tick = encoder.layout, encoder.clock.dtype
    vectors = np.stack([reader.start.vectors[0].numpy() for reader in readers])
    weights = np.stack([reader.start.weights[0].numpy() for reader in readers])
    n_numbers = 1 + (1 + has_sums) * layout.n_decayed
    fields: list[Any] = [
        ("first", tick),
        ("last", tick),
        ("count", "int64"),
        ("sums", "float64", (len(layout.half_lives), n_numbers)),
        ("weights", "float32", weights.shape),
        *stored.fields(len(readers), vectors.shape[-1]),
    ]
    record = np.zeros(1, np.dtype(fields, align=True))
    record["weights"] = weights
    for number, of_network in enumerate(vectors):
        stored.store(record, 0, number, of_network)
    return record


def _encode(
    encoder: EventEncoder,
    columns: Mapping[str, Column],
    times: np.ndarray,
    gaps: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Channels and codes of events, one cache block after another."""
    channels, codes = encoder.layout.empty(len(times))
    for some in blocks(len(times), _WIDTH):
        own = {
            name: Column(column.values[some], column.categories)
            for name, column in columns.items()
        }
        encoder.encode(own, times[some], gaps[some], (channels[some], codes[some]))
    return channels, codes
