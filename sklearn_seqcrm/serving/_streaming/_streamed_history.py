"""One history column of a scorer: its encoder, its readers and its states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sklearn_seqcrm._encoding import (
    EventEncoder,
    Layout,
    row_features_of,
    scale_row_features,
    sums_of_amounts,
    symexp,
)
from sklearn_seqcrm._ragged import blocks, groups
from sklearn_seqcrm._recurrent.network import RecurrentState
from sklearn_seqcrm._store import MAX_TICK
from sklearn_seqcrm.serving._streaming._arrivals import Arrivals
from sklearn_seqcrm.serving._streaming._customer_states import (
    CustomerStateTable,
    StoredVectors,
)
from sklearn_seqcrm.serving._streaming._event_fields import EventFields, EventRowEncoder
from sklearn_seqcrm.serving._streaming._event_reader import EventReader, strides
from sklearn_seqcrm.serving._streaming._new_moments import (
    NewMoments,
    fields_of_moments,
    interarrival_times,
    joins,
)

_WIDTH = 4  # temporary numbers per event, as in `encode_rows`
# Customers with about 262,000 events are read together: more leave the cache, fewer
# cost calls.
_PER_EVENT = 1


class StreamedHistory:
    """The states of all customers for one history column.

    A record has these fields (see also `StoredVectors`)::

        first, last    times of the first and the last event, in ticks
        count          number of events
        [n_moments,]   if events are joined to moments: see `fields_of_moments`
        [begin,]
        [before]
        [n_visits]     if visits are counted
        sums           (half-lives, 1 [+ 1] + facts [+ facts]) decayed counts of events
                       and visits and sums of facts at the last event; with `has_sums`,
                       also of the symexp facts
        weights        (networks, W) numbers of the packed states
        vectors        (networks, V, H) vectors of the packed states
        [totals]       with float16: the vectors that are sums over all events

    The history column has a `name`; `keys` are the customer and the time column of its
    events, `encoder` is their learned encoding, and `readers` are one for each network.
    As many customers as `most` are remembered; None: all. Vectors that are not sums
    over all events are stored in `dtype`, float32 or float16. With `has_sums`, the sums
    also have the facts in their own units (symexp).
    """

    fields: EventFields  # readers of the fields of events
    states: CustomerStateTable  # the records
    # Times of the first and the last event of all customers; None before any event.
    span: tuple[Any, Any] | None = None

    def __init__(
        self,
        name: str,
        keys: tuple[str, str],
        encoder: EventEncoder,
        readers: Sequence[EventReader],
        most: int | None,
        dtype: str,
        has_sums: bool,
    ) -> None:
        self.name = name
        self.keys = keys
        self.encoder = encoder
        self.fields = EventFields(encoder, keys)
        self._row_encoder = EventRowEncoder(encoder)
        self.stored = StoredVectors(dtype, readers[0].adds_up)
        self._sums = DecayedSums(encoder.layout, has_sums)
        start = _start_record(encoder, readers, self.stored, self._sums)
        self.states = CustomerStateTable(start)
        self._readers = readers
        self._n_states = readers[0].n_states  # limits the events read at once
        self._most = most

    # Events in ------------------------------------------------------------------------

    def are_late(self, arrivals: Arrivals) -> np.ndarray:
        """Return which events precede the last one of their customer, (n_events,)."""
        slots = self.states.find(arrivals.customers)
        known = np.flatnonzero(slots >= 0)
        late = np.zeros(len(arrivals.times), dtype=bool)
        if not len(known):
            return late
        last = self.states.records["last"][slots[known]]
        first = arrivals.offsets[known]
        layout = self.encoder.layout
        # Events of a customer are sorted: if the first one is not late, none is.
        # So the loop is over the few late customers only.
        for i in np.flatnonzero(arrivals.times[first] < last).tolist():
            own = slice(first[i], arrivals.offsets[known[i] + 1])
            times = arrivals.times[own]
            late[own] = times < last[i]
            if layout.moments is not None:
                slot = np.repeat(slots[known[i]], len(times))
                late[own] &= ~joins(layout, self._times_in(slot), times)
        return late

    def _times_in(self, slots: np.ndarray) -> dict[str, np.ndarray]:
        """Return copies of the fields of records by which moments are found."""
        records, layout = self.states.records, self.encoder.layout
        own = [name for name, _ in fields_of_moments(layout, self.encoder.clock.dtype)]
        return {name: records[name][slots] for name in ("count", "last", *own)}

    def take(self, arrivals: Arrivals) -> None:
        """Update the states by new events, none of them late."""
        # Checked before any state changes; stored at the end, when all have changed.
        span = self.span_with(arrivals.times.min(), arrivals.times.max())
        encoder = self.encoder
        # Looking levels up once for all events pays with several events a customer.
        if len(arrivals.times) > len(arrivals.customers):
            encoder = encoder.prepared_for(arrivals.columns)
        for one, following in groups(arrivals.offsets[1:], _PER_EVENT):
            own = arrivals.of_customers(slice(one, following))
            slots = self.states.add(own.customers)
            if encoder.layout.moments is None:
                self._take_events(encoder, slots, own)
            else:
                self._take_moments(encoder, slots, own)
            self.forget_oldest()
        self.span = span

    def take_one(
        self, customer: Any, tick: Any, values: Mapping[str, Any], stays: bool = True
    ) -> None:
        """Update a state by a single event that is not late, or joins its moment.

        `tick` is the time of the event on the clock of the encoder, and `values` its
        fields as `EventFields.read` returns them. If the customer `stays`, it is
        remembered even if the last events of all others are later.
        """
        slot = self.states.find_one(customer)
        last = self.states.records["last"]
        interarrival = np.nan if slot < 0 else float(tick - last[slot])
        interarrival_of_moment: float | None = interarrival
        is_new = slot < 0 or not self.joins_one(slot, tick)
        if not is_new:
            interarrival = max(interarrival, 0.0)  # 0 for a late event
            interarrival_of_moment = self._interarrival_if_earlier(slot, tick)
        is_earlier = not is_new and interarrival_of_moment is not None
        # Everything that may fail comes before the first change.
        channels, codes = self._row_encoder.encode(values, tick, interarrival_of_moment)
        span = self.span_with(tick, tick)
        [slot] = self.states.add([customer])
        records = self.states.records
        record = records[slot]  # a view
        # As in `_advance_events`: 0 for a first event.
        unit = self.encoder.layout.time_unit
        in_units = 0.0 if np.isnan(interarrival) else interarrival / unit
        for number, reader in enumerate(self._readers):
            before = self._state_of(record, number)
            after = reader.step.update(
                before, channels, codes, np.float32(in_units), is_new
            )
            if is_earlier:
                after = reader.step.begin_earlier(after, channels)
            self._store(slot, number, after)
        # (1, 1) times and (1, 1, F) channels: B = T = 1 of `DecayedSums.after`.
        times = np.array([[tick]], self.encoder.clock.dtype)
        self._advance_moment(record, tick, is_new, is_earlier)
        own = records[slot : slot + 1]
        self._advance_sums(np.array([slot]), own, times, channels[None, None])
        self.span = span
        self.forget_oldest(slot if stays else -1)

    def _advance_moment(
        self, record: np.void, tick: Any, is_new: bool, is_earlier: bool
    ) -> None:
        """Update the fields of moments, before `last` and `count` change."""
        moments = self.encoder.layout.moments
        if moments is not None:
            record["n_moments"] += is_new
        if moments and is_new:
            record["before"] = record["last"] if record["count"] else tick
        if moments and (is_new or is_earlier):
            record["begin"] = tick

    def forget_oldest(self, slot: int = -1) -> None:
        """Forget customers beyond those to remember, but not the one in a slot."""
        if self._most is not None:
            self.states.keep_latest(self._most, slot)

    def joins_one(self, slot: int, tick: Any) -> bool:
        """Return whether an event joins the open moment of a known customer."""
        layout, records = self.encoder.layout, self.states.records
        if layout.moments is None:
            return False
        if tick == records["last"][slot] or not layout.moments:
            return bool(tick == records["last"][slot])
        times = np.array([tick], self.encoder.clock.dtype)
        return bool(joins(layout, records[slot : slot + 1], times)[0])

    def _interarrival_if_earlier(self, slot: int, tick: Any) -> float | None:
        """Return the time from the moment before to an event before the open one.

        NaN if there is no moment before. None if the event is not before the others of
        the open moment, which it joins.
        """
        record = self.states.records[slot]
        if not self.encoder.layout.moments or tick >= record["begin"]:
            return None
        if record["before"] >= record["begin"]:
            return np.nan
        return float(tick - record["before"])

    def span_with(self, first: Any, last: Any) -> tuple[Any, Any]:
        """Return `span` with new events between two times.

        Raises a ValueError if they are so far apart that differences would overflow.
        """
        clock = self.encoder.clock
        low, high = clock.tick_type(first), clock.tick_type(last)
        if self.span is not None:
            low, high = min(low, self.span[0]), max(high, self.span[1])
        if high - low > MAX_TICK:
            raise ValueError(
                f"Events for {self.name!r} would be at {clock.as_scalar(low)} to "
                f"{clock.as_scalar(high)}, further apart than int64 can count in "
                "their unit. Leave out times that mean 'never' or 'unknown'."
            )
        return low, high

    def _take_events(
        self, encoder: EventEncoder, slots: np.ndarray, arrivals: Arrivals
    ) -> None:
        """Update records by events, each a step; `slots` are those of C customers."""
        times, starts = arrivals.times, arrivals.offsets[:-1]
        interarrival = interarrival_times(self._times_in(slots), times, starts)
        channels, codes = _encode(encoder, arrivals, interarrival)
        # Customers side by side, each with equally many events, for one call of the
        # layers; a later stride of a customer starts from the state of the former.
        counts = np.diff(arrivals.offsets)
        for those, index in strides(starts, counts, self._n_states):  # (B,) and (B, T)
            numbers = (one[index] for one in (times, interarrival, channels, codes))
            self._advance_events(slots[those], *numbers)

    def _take_moments(
        self, encoder: EventEncoder, slots: np.ndarray, arrivals: Arrivals
    ) -> None:
        """Update records by events that are joined to moments, as `_take_events`."""
        layout, records = encoder.layout, self.states.records
        times, offsets = arrivals.times, arrivals.offsets
        record = self._times_in(slots)
        new = NewMoments.of(layout, record, times, offsets)
        interarrival = new.interarrival_of_moments(record, times, offsets)
        channels, codes = _encode(encoder, arrivals, interarrival)
        for number in range(len(self._readers)):
            self._advance_moments(slots, number, new, channels, codes)
        for those, index in strides(offsets[:-1], np.diff(offsets), self._n_states):
            own = slots[those]
            self._advance_sums(own, records[own], times[index], channels[index])
        n_runs = np.diff(new.first_run, append=len(new.begin))
        records["n_moments"][slots] += n_runs - new.is_joined
        if layout.moments:
            begin, before = new.begin_and_before(record, times, offsets)
            records["begin"][slots], records["before"][slots] = begin, before

    def _advance_moments(
        self,
        slots: np.ndarray,
        number: int,
        new: NewMoments,
        channels: np.ndarray,
        codes: np.ndarray,
    ) -> None:
        """Update the states of one network in the records of C customers."""
        reader, weights = self._readers[number], self.states.records["weights"]
        interarrival = np.nan_to_num(new.interarrival / self.encoder.layout.time_unit)
        runs = reader.sum_events(
            channels, codes, interarrival.astype("float32"), new.begin
        )
        # The open moment is the end of the other numbers, see `RecurrentState`.
        place = weights.shape[2] - runs.shape[1]
        opened = weights[slots, number, place:]  # (C, K), a copy
        joined = new.first_run[new.is_joined]
        runs[joined] = reader.add(
            opened[new.is_joined], runs[joined], new.is_earlier[new.is_joined]
        )
        moments = np.concatenate([runs, opened])  # (n_runs + C, K)
        starts, ends = new.offsets[:-1], new.offsets[1:] - 1
        for those, index in strides(starts, ends - starts, self._n_states):
            closed = torch.from_numpy(moments[new.moments[index]])  # (B, T, K)
            before = self._state_of(self.states.records[slots[those]], number)
            after = reader.advance_moments(before.map(torch.from_numpy), closed)
            self._store(slots[those], number, after.map(torch.Tensor.numpy))
        weights[slots, number, place:] = moments[new.moments[ends]]

    def _advance_events(
        self,
        slots: np.ndarray,
        times: np.ndarray,
        interarrival: np.ndarray,
        channels: np.ndarray,
        codes: np.ndarray,
    ) -> None:
        """Update the records of B customers, in `slots`, by T encoded events each.

        `times`, ascending, and `interarrival`, float64 in ticks and NaN for a first
        event, have the shape (B, T); `channels` (B, T, F) are float32, and `codes`
        (B, T, C) int32.
        """
        records = self.states.records
        # A first event fades a state of zeros, so that any finite time serves.
        in_units = np.nan_to_num(interarrival / self.encoder.layout.time_unit)
        tensors = (
            torch.from_numpy(channels),
            torch.from_numpy(codes.astype("int64")),
            torch.from_numpy(in_units.astype("float32")),
        )
        before = records[slots]  # (B,), a copy
        for number, reader in enumerate(self._readers):
            state = self._state_of(before, number).map(torch.from_numpy)
            after = reader.advance(state, *tensors)
            self._store(slots, number, after.map(torch.Tensor.numpy))
        self._advance_sums(slots, before, times, channels)

    def _advance_sums(
        self,
        slots: np.ndarray,
        before: np.ndarray,
        times: np.ndarray,
        channels: np.ndarray,
    ) -> None:
        """Update sums, times and counts; `before` are the records of the slots."""
        records, last = self.states.records, times[:, -1]
        if self.encoder.layout.moments:  # then there are late events
            is_late = (before["count"] > 0) & (last < before["last"])
            last = np.where(is_late, before["last"], last)
        counted = _counted(self.encoder.layout, before, times)
        if self.encoder.layout.counts_visits:
            records["n_visits"][slots] += counted[:, :, 1].sum(axis=1).astype("int64")
        sums = self._sums.after(before, times, counted, channels, last)
        records["sums"][slots] = sums
        is_first = (before["count"] == 0) | (times[:, 0] < before["first"])
        records["first"][slots[is_first]] = times[is_first, 0]
        records["last"][slots] = last
        records["count"][slots] += times.shape[1]

    # Rows out -------------------------------------------------------------------------

    def refuse_early(self, slots: np.ndarray, cutoff: np.ndarray, exact: bool) -> None:
        """Raise a ValueError for cutoffs at which a row would not see all events.

        `slots` (n,) are those of the customers, -1 for an unknown one; `cutoff` (n,) is
        on the clock of the encoder. With `exact`, rows see the events at their cutoff.
        """
        known = np.flatnonzero(slots >= 0)
        last, cutoff = self.states.records["last"][slots[known]], cutoff[known]
        early = is_early(last, cutoff, exact)
        if early.any():
            at, clock = early.argmax(), self.encoder.clock
            hint = (
                "" if exact else " (allow_exact_matches=True lets rows see those at it)"
            )
            raise ValueError(
                f"{early.sum()} of {len(slots)} rows have a cutoff that is not after "
                f"the last event in {self.name!r} of their customer{hint}: the first "
                f"of them is at {clock.as_scalar(cutoff[at])}, with an event at "
                f"{clock.as_scalar(last[at])}. The states include these events, "
                "which cannot be removed; to score the past, attach the rows to a log."
            )

    def features(
        self, records: np.ndarray, cutoff: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compute row features and sums as `EncodedLog.row_features_and_sums` does.

        For records (n,) of customers and cutoffs (n,) on the clock of the encoder:
        features (n, n_row_features) and sums of facts in their units (n, n_sums), both
        float32. Sums have no columns unless `has_sums`.
        """
        ages = np.stack([cutoff - records["last"], cutoff - records["first"]], axis=1)
        ages = np.where(records["count"][:, None] > 0, ages, np.nan)  # (n, 2)
        layout = self.encoder.layout
        sums = self._sums.faded(records, cutoff - records["last"])
        sums, amounts = np.split(sums, [1 + layout.n_summed], axis=2)
        counts = [records["count"]]
        if layout.moments is not None:
            counts.append(records["n_moments"])
        if layout.counts_visits:
            counts.append(records["n_visits"])
        raw = row_features_of(ages, np.column_stack(counts), sums, cutoff, layout)
        features = scale_row_features(raw, self.encoder.row_scale).astype("float32")
        return features, sums_of_amounts(amounts)

    def pooled(self, records: Any, cutoff: Any, number: int) -> np.ndarray:
        """Return the histories of customers pooled by one network, (n, output_size).

        `records` and `cutoff` are as in `features`, or a single record and its cutoff,
        which give (output_size,); `number` is that of the network.
        """
        # Without events any finite age serves: the state is 0.
        since = np.where(records["count"] > 0, cutoff - records["last"], 0)
        age = (since / self.encoder.layout.time_unit).astype("float32")
        seen = self._readers[number].step.read(self._state_of(records, number), age)
        return seen.reshape(*seen.shape[:-2], -1)  # (n, P H)

    # Packed states: fields "vectors" (and "totals") and "weights" ---------------------

    def _state_of(self, records: Any, number: int) -> RecurrentState:
        """Return the states of one network in records, or in a single one."""
        vectors = self.stored.load(records, number)
        numbers = records["weights"][..., number, :]
        return self._readers[number].step.start.unpack(vectors, numbers)

    def _store(self, slots: Any, number: int, state: RecurrentState) -> None:
        """Write the states of one network into slots, or into a single one."""
        vectors, numbers = state.pack()
        self.stored.store(self.states.records, slots, number, vectors)
        self.states.records["weights"][slots, number] = numbers


def is_early(last: Any, cutoff: Any, exact: bool) -> Any:
    """Return whether a row at a cutoff does not see the last event that was read."""
    return last > cutoff if exact else last >= cutoff


def _start_record(
    encoder: EventEncoder,
    readers: Sequence[EventReader],
    stored: StoredVectors,
    sums: DecayedSums,
) -> np.ndarray:
    """Return the record of a customer without events, shape (1,)."""
    layout, tick = encoder.layout, encoder.clock.dtype
    packed = [reader.step.start.pack() for reader in readers]
    vectors, weights = (np.stack(each) for each in zip(*packed, strict=True))
    fields: list[Any] = [
        ("first", tick),
        ("last", tick),
        ("count", "int64"),
        *fields_of_moments(layout, tick),
        *[("n_visits", "int64")] * layout.counts_visits,
        ("sums", "float64", sums.shape),
        ("weights", "float32", weights.shape),
        *stored.fields(len(readers), vectors.shape[-1]),
    ]
    record = np.zeros(1, np.dtype(fields, align=True))
    record["weights"] = weights
    for number, of_network in enumerate(vectors):
        stored.store(record, 0, number, of_network)
    return record


def _encode(
    encoder: EventEncoder, arrivals: Arrivals, interarrival: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Encode events in blocks that fit the cache; return channels and codes."""
    times = arrivals.times
    channels, codes = encoder.layout.empty(len(times))
    for some in blocks(len(times), _WIDTH):
        own = {name: one.take(some) for name, one in arrivals.columns.items()}
        encoder.encode(
            own, times[some], interarrival[some], (channels[some], codes[some])
        )
    return channels, codes


def _counted(layout: Layout, before: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return 1 for each event and, if visits are counted, whether it starts one.

    `before` (B,) are records of the customers, and `times` (B, T) those of the events.
    The result is float64, of shape (B, T, 1) or (B, T, 2).
    """
    visits = layout.counted_visits
    counted = np.ones((*times.shape, 1 + layout.counts_visits))
    if visits is not None:
        earlier = np.column_stack([before["last"], times[:, :-1]])
        interarrival = (times - earlier).astype("float64")
        interarrival[before["count"] == 0, 0] = np.nan
        counted[:, :, 1] = visits.are_starts_after(interarrival)
    return counted


class DecayedSums:
    """Decayed counts of the customers' events and visits, and sums of their events.

    The `layout` has the half-lives, and the channels that are summed; with `has_sums`,
    these are also summed in their own units (symexp).
    """

    # Half-lives K, and the numbers that are summed: 1 for the count, 1 for that of
    # visits if they are counted, the facts, and with `has_sums` the facts in their own
    # units.
    shape: tuple[int, int]

    def __init__(self, layout: Layout, has_sums: bool) -> None:
        self._layout = layout
        self._has_sums = has_sums
        self._rates = np.log(2) / np.asarray(layout.half_lives)
        n_numbers = 1 + layout.n_summed + has_sums * layout.n_decayed
        self.shape = len(layout.half_lives), n_numbers

    def after(
        self,
        before: np.ndarray,
        times: np.ndarray,
        counted: np.ndarray,
        channels: np.ndarray,
        last: np.ndarray,
    ) -> np.ndarray:
        """Return the counts and sums of B customers after T more events each.

        `before` (B,) are records of the customers, see `StreamedHistory`; `times`
        (B, T), in ticks, `counted` (B, T, 1 or 2), see `_counted`, and `channels`
        (B, T, F) are those of the events. Counts and sums (B, K, n_numbers), float64,
        are at `last` (B,), the time of the last event after them.

        For half-life k with rate r = log(2) / k, events at times t with numbers x (1
        for the count), and the last time l before and l' after them: ``sums' = exp(-r
        (l' - l)) sums + sum exp(-r (l' - t)) x``, of which the last sum is a product of
        matrices.
        """
        layout = self._layout
        facts = channels[:, :, : layout.n_decayed]  # (B, T, n_decayed)
        parts = [counted, facts]
        if self._has_sums:
            amounts = symexp(facts.reshape(times.size, layout.n_decayed), layout)
            parts.append(amounts.reshape(facts.shape))
        numbers = np.concatenate(parts, axis=2, dtype="float64")
        ages = last[:, None] - times  # (B, T)
        fade = np.exp(ages[:, None] * -self._rates[:, None])  # (B, K, T)
        since = last - before["last"]
        # (B, K, T) @ (B, T, n_numbers)
        return self.faded(before, since) + np.matmul(fade, numbers)

    def faded(self, records: np.ndarray, since: np.ndarray) -> np.ndarray:
        """Return counts and sums some ticks after the last events of B customers.

        `since` (B,) may be any number where there is no event. Shape (B, K, n_numbers),
        float64.
        """
        # Without events, `last` is no time: exp could overflow.
        since = np.where(records["count"] > 0, since, 0)
        return np.exp(since[:, None] * -self._rates)[:, :, None] * records["sums"]
