"""Simulation of paths: many futures of each row, one event of all paths at a time.

A batch of paths takes one event per step. Paths that have ended leave it, and paths of
further rows join when few are left::

    step          0         1         2         3
    row 0 path 0  t=12 a,3  t=15 b,1  (after the end: leaves)
    row 0 path 1  t=14 a,2  t=14 c,2  t=20 a,1  ...
    row 1 path 0  (leaves)
    row 1 path 1                      t=13 b,4  ...       begins in step 2

The first interarrival time is drawn given that no event came before the cutoff. The
random numbers of a path follow from the hash of its row (customer, cutoff, events), the
seed and its number, and are used in a fixed order: time, then each field. So a path
does not depend on the paths beside it.

Events at the cutoff are an open basket. They are appended to paths that begin before
it, as if they had been simulated, so that the next one is a further line::

    a  b b  c          |d e|          row, with two events at the cutoff
    |<- history ->|                   a path begins with it
                        d e  ?        appended, and the next event
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sklearn_seqcrm._columns import Table
from sklearn_seqcrm._encoding import MISSING
from sklearn_seqcrm._ragged import ranges, segment_numbers
from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._recurrent.network import RecurrentState
from sklearn_seqcrm._store import MAX_TICK, Column, Rows, saturating_add
from sklearn_seqcrm.event_model._event_net import EventNet
from sklearn_seqcrm.event_model._learned import (
    LearnedEvents,
    event_counts,
    last_times,
    split_static,
)
from sklearn_seqcrm.event_model._network import EventNetwork
from sklearn_seqcrm.event_model._path_draws import (
    PathDraws,
    draw_categorical,
    path_keys,
)
from sklearn_seqcrm.event_model._paths import Paths, PathState
from sklearn_seqcrm.events import HistoryArray

# Number of paths that begin together, and below which further ones begin: most end
# soon, and a step of few paths is mostly overhead. More states do not fit into caches.
_PATHS_AT_ONCE, _FEWEST_PATHS = 2**13, 2**12
# Probabilities of some rows at once: 2 MiB, which caches hold.
PROBABILITIES_AT_ONCE = 2**19


class SimulationPlan(NamedTuple):
    """The rows of a simulation, and the number and ends of their paths."""

    data: RowData  # histories and statics of the rows
    keys: np.ndarray  # (n,), uint64: key of each row, as `row_keys` returns them
    end: np.ndarray  # (n,): first moment that is not simulated
    n_paths: int  # paths of each row; path ``k`` belongs to row ``k // n_paths``
    most_events: int  # maximum number of events of a path, which then ends


class FieldContext(NamedTuple):
    """Context of a field of the next event of paths, before it is drawn."""

    context: Tensor  # (n, H): state, time of the event and fields before this one
    # (n,): probability that the event has the field; 1 if its kind is drawn before.
    p_applies: Tensor


class SimulatedEvents(NamedTuple):
    """Events of paths: one of each in a step, or all, sorted by path and time."""

    path: np.ndarray  # (n_events,), int64: number of the path
    times: np.ndarray  # (n_events,): on the clock of the encoder
    columns: dict[str, Column]  # the fields, in the order of the log
    n_cut: int  # paths that were ended because they had too many events


class OpenBaskets(NamedTuple):
    """Encoded events at the cutoffs of rows."""

    # (n + 1,), int64: row ``i`` has the events ``offsets[i]:offsets[i + 1]``.
    offsets: np.ndarray
    values: np.ndarray  # (n_events, F), float32: their channels in the block `network`
    codes: np.ndarray  # (n_events, C), int64: codes, levels and numbers

    def take(self, rows: np.ndarray) -> OpenBaskets:
        """Return the events of some rows."""
        index, offsets = ranges(self.offsets[rows], self.offsets[rows + 1])
        return OpenBaskets(offsets, self.values[index], self.codes[index])


class Simulator:
    """Simulates paths event by event, with a trained net and its learned events."""

    def __init__(self, net: EventNet, learned: LearnedEvents) -> None:
        self.net = net
        self.module: EventNetwork = net.module_.eval()
        self.device = torch.device(net.device)
        self.learned = learned
        # Encoders look up the levels once, instead of in every step.
        self.encoders = {
            name: learned.encoder.fields[name].prepared_for(field.empty_column())
            for name, field in learned.fields.items()
        }

    # Paths up to an end -----------------------------------------------------------

    def run(self, plan: SimulationPlan) -> SimulatedEvents:
        """Simulate, and keep all events."""
        times, fields = plan.data.sources[0].times[:0], self.learned.fields
        columns = {n: fields[n].empty_column() for n in self.learned.encoder.fields}
        nothing = SimulatedEvents(np.zeros(0, "int64"), times, columns, 0)
        steps = [nothing, *self.steps(plan)]
        path = np.concatenate([step.path for step in steps])
        # A path has one event in a step: a stable sort keeps its events in order.
        order = np.argsort(path, kind="stable")
        times = np.concatenate([step.times for step in steps])[order]
        joined = {}
        for name, column in columns.items():
            values = np.concatenate([step.columns[name].values for step in steps])
            joined[name] = Column(values[order], column.categories)
        n_cut = sum(step.n_cut for step in steps)
        return SimulatedEvents(path[order], times, joined, n_cut)

    def steps(self, plan: SimulationPlan) -> Iterator[SimulatedEvents]:
        """Yield the next event of some paths; `n_cut` of them end with it."""
        n_paths, filled = plan.n_paths, np.flatnonzero(event_counts(plan.data))
        observed = self.observed(plan.data)
        n_begun, n_all = 0, len(filled) * n_paths
        paths: Paths | None = None
        while n_begun < n_all or (paths is not None and len(paths.number)):
            few = paths is None or len(paths.number) < _FEWEST_PATHS
            if few and n_begun < n_all:
                place = np.arange(n_begun, min(n_begun + _PATHS_AT_ONCE, n_all))
                some = filled[place // n_paths] * n_paths + place % n_paths
                n_begun += len(some)
                begun, time_since_last = self._begin(plan, some, observed)
                begun, step = self._next_events(plan, begun, time_since_last)
                paths = begun if paths is None else paths.concat(begun)
            else:
                assert paths is not None
                paths, step = self._next_events(plan, paths)
            too_many = paths.n_events >= plan.most_events
            yield step._replace(n_cut=int(too_many.sum()))
            if too_many.any():
                paths = paths.take(np.flatnonzero(~too_many))

    def _next_events(
        self,
        plan: SimulationPlan,
        paths: Paths,
        time_since_last: np.ndarray | None = None,
    ) -> tuple[Paths, SimulatedEvents]:
        """Return the paths that have another event before their end, and the events.

        `time_since_last` is as in `_draw_times`.
        """
        end = plan.end[paths.number // plan.n_paths]
        left = _ticks_until(paths.times, end)
        interarrival = self._draw_times(paths, time_since_last, left)
        # A drawn time may lie beyond the largest tick: no addition before the check.
        is_within = interarrival < left
        ticks = np.where(is_within, interarrival, 0).astype(paths.times.dtype)
        kept = np.flatnonzero(is_within & (saturating_add(paths.times, ticks) < end))
        paths = paths.take(kept).advance(interarrival[kept], self.learned.grid)
        values, codes, columns, _ = self.draw_fields(paths)
        paths = self.append(paths, values, codes)
        return paths, SimulatedEvents(paths.number, paths.times, columns, n_cut=0)

    # The next event ---------------------------------------------------------------

    def probabilities(self, paths: Paths, name: str, n_draws: int) -> np.ndarray:
        """Return probabilities of the levels of a field of the next event.

        They are means over `n_draws` draws of the context: the time of the event, and
        the fields before. The shape is (n, n_levels), float32. Paths are those of
        `at_next`.
        """
        *_, context = self.draw_fields(paths, until=name)
        parts = self.mean_probabilities(paths, context, self.number_of(name), n_draws)
        means = torch.cat([found for _, found in parts])
        # Sums of generated and copied shares may exceed 1 by rounding.
        return means.clamp_(max=1).cpu().numpy()

    def mean_probabilities(
        self, paths: Paths, context: FieldContext, i: int, n_draws: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield positions of some rows, and their mean probabilities in field `i`.

        A row has `n_draws` paths, one after the other, which differ in the context of
        the field alone.
        """
        density, state = self.module.fields[i], paths.copies.get(i)
        # An event that lacks the field has a missing value.
        weights = context.p_applies.unflatten(0, (-1, n_draws)) / n_draws  # (n, k)
        at_once = max(1, PROBABILITIES_AT_ONCE // density.n_levels)
        rows = torch.arange(len(weights), device=self.device)
        parts = zip(
            rows.split(at_once),
            context.context.split(at_once * n_draws),
            paths.is_tie.split(at_once * n_draws),
            weights.split(at_once),
            strict=True,
        )
        for there, own_context, is_tie, own in parts:
            of_rows = None if state is None else state.take(there * n_draws)
            found = density.probabilities(
                own_context, of_rows, is_tie, own, of_lists=True
            )
            found[:, MISSING] += 1 - own.sum(dim=1)
            yield there, found

    def at_next(
        self,
        data: RowData,
        keys: np.ndarray,
        n_draws: int,
        at_cutoff: bool,
        baskets: OpenBaskets | None,
    ) -> Paths:
        """Return paths at the time of their next event.

        Rows have `n_draws` paths each, whose random numbers are stratified. With
        `baskets`, which are as `split_open_baskets` returns them, as `data` are, these
        events are appended to the paths, and the next event is at the cutoff.
        Otherwise, its time is drawn, or as early as possible if `at_cutoff`. The first
        event of an empty history has no interarrival time: it is NaN.
        """
        observed = self.observed(data)
        paths, time_since_last = self.at_cutoffs(data, np.arange(len(data)), observed)
        if baskets is not None:
            paths = self._append_baskets(paths, data.sources[0].cutoff, baskets)
        number = np.arange(len(data) * n_draws)
        row = number // n_draws
        draws = PathDraws.of_paths(keys[row], number % n_draws, row)
        paths = replace(paths.take(row), number=number, draws=draws)
        time_since_last = time_since_last[row]
        if baskets is not None:
            until_cutoff = data.sources[0].cutoff[row] - paths.times
            ticks = np.where(paths.n_events > 0, 0, until_cutoff)
        elif at_cutoff:
            ticks = self._least_ticks(time_since_last)
        else:
            longest = np.full(len(row), self.learned.most_events.lengths[-1])
            ticks = self._draw_times(
                paths, time_since_last, 2 * longest, comes_back=True
            )
        is_empty = (event_counts(data) == 0)[row] & (paths.n_events == 0)
        # An array with NaN is float64, which would round the whole ticks of a time.
        paths = paths.advance(np.where(is_empty, 0, ticks), self.learned.grid)
        return replace(paths, interarrival=np.where(is_empty, np.nan, ticks))

    def _append_baskets(
        self, paths: Paths, cutoff: np.ndarray, baskets: OpenBaskets
    ) -> Paths:
        """Append the events at the cutoffs to a path of each row."""
        offsets, counts = baskets.offsets, np.diff(baskets.offsets)
        ticks = cutoff - paths.times
        complete = []
        for k in range(counts.max(initial=0)):
            is_complete = counts[paths.number] == k
            if is_complete.any():
                complete.append(paths.take(np.flatnonzero(is_complete)))
                paths = paths.take(np.flatnonzero(~is_complete))
            paths = paths.advance(ticks[paths.number] * (k == 0), self.learned.grid)
            event = offsets[paths.number] + k
            values, codes = baskets.values[event], baskets.codes[event]
            paths = self.append(paths, self.moved(values), self.moved(codes))
        joined = reduce(Paths.concat, complete, paths)
        return joined.take(np.argsort(joined.number))

    def number_of(self, name: str) -> int:
        """Return the number of a field in the order of prediction."""
        return list(self.learned.fields).index(name)

    # Begin ------------------------------------------------------------------------

    def observed(self, data: RowData) -> dict[int, Any]:
        """Return what rows can copy, by the number of each field that copies."""
        source = data.sources[0].events
        is_tie = self.module.is_tie(source.channels)
        found = {}
        for i, (name, density) in enumerate(
            zip(self.learned.fields, self.module.fields, strict=True)
        ):
            level_field = self.learned.level_fields.get(name)
            n_levels = 0 if level_field is None else level_field.n_levels
            found[i] = density.observed(source, is_tie, n_levels)
        return {i: one for i, one in found.items() if one is not None}

    def _begin(
        self,
        plan: SimulationPlan,
        numbers: np.ndarray,
        observed: dict[int, Any],
    ) -> tuple[Paths, np.ndarray]:
        """Return paths at the cutoffs of their rows, and ticks since the last event."""
        rows, of_path = np.unique(numbers // plan.n_paths, return_inverse=True)
        paths, time_since_last = self.at_cutoffs(plan.data.take(rows), rows, observed)
        draws = PathDraws.of_paths(plan.keys[rows][of_path], numbers % plan.n_paths)
        paths = replace(paths.take(of_path), number=numbers, draws=draws)
        return paths, time_since_last[of_path]

    def at_cutoffs(
        self, data: RowData, rows: np.ndarray, observed: dict[int, Any]
    ) -> tuple[Paths, np.ndarray]:
        """Return a path of each row at its cutoff, and ticks since its last event.

        `rows` are the numbers of the rows in `observed`. The paths have no random
        numbers of their own yet.
        """
        last, time_since_last = last_times(data.sources[0])
        state = PathState.at_cutoff(self.module.reader, self._final_states(data))
        is_empty = self.moved(event_counts(data) == 0)
        # A copy: the recurrent state of an empty history stays 0.
        output = torch.where(
            is_empty[:, None], self.module.initial_output, state.output
        )
        static = torch.from_numpy(data.static).to(self.device)
        row = self.moved(rows)
        copies = {i: one.at_cutoff(row) for i, one in observed.items()}
        paths = Paths(
            number=rows,
            times=last,
            interarrival=np.zeros_like(rows, dtype="float64"),
            n_events=np.zeros_like(rows),
            output=output,
            static_effect=self.module.static_effect(static),
            reader_state=state,
            is_tie=torch.zeros_like(row, dtype=torch.bool),
            copies=copies,
            rate=split_static(static).rate,
            draws=PathDraws(np.zeros(len(rows), "uint64")),
        )
        return paths, time_since_last

    def _final_states(self, data: RowData) -> RecurrentState:
        """Return the recurrent state after the last event of each row."""
        final = self.module.reader.start(len(data))
        for rows, part in self.net.parts(data):
            there = torch.from_numpy(rows).to(self.device)
            final.put(there, self.module.final_states(part))
        return final

    # Draws ------------------------------------------------------------------------

    def _draw_times(
        self,
        paths: Paths,
        time_since_last: np.ndarray | None,
        left: np.ndarray,
        comes_back: bool = False,
    ) -> np.ndarray:
        """Return drawn interarrival times in ticks, shape (n,).

        The first one of a path is drawn given that no event came within the ticks
        `time_since_last` until the cutoff; None for later ones. Where no further event
        comes, they are longer than `left`, or are drawn given that one comes if
        `comes_back`.
        """
        grid, limit = self.learned.grid, None
        if time_since_last is not None:
            log_time = grid.log_censoring_time(time_since_last, paths.times)
            limit = self.moved(log_time.astype("float32"))
        inputs = self.module.time_inputs(paths.states, paths.rate)
        is_tie, logs = self.module.time.draw(inputs, paths.draws, limit, comes_back)
        most = float(left.max()) + 2 * grid.step
        drawn = grid.ticks(logs.cpu().numpy(), most, paths.times)
        if time_since_last is not None:
            return np.maximum(drawn, self._least_ticks(time_since_last))
        drawn[is_tie.cpu().numpy()] = 0
        return drawn

    def _least_ticks(self, time_since_last: np.ndarray) -> np.ndarray:
        """Return ticks until the first moment that is not over at the cutoff, (n,)."""
        grid = self.learned.grid
        return grid.steps(time_since_last).clip(1) * grid.step

    def draw_fields(
        self,
        paths: Paths,
        until: str | None = None,
        draw: dict[str, Callable[[FieldContext], Tensor]] | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, Column], FieldContext]:
        """Draw the fields of the next event of each path, each given those before.

        `paths` are at the time of the event. If `until` is given, drawing stops before
        this field, and only kinds of events that have it are drawn. `draw` has
        functions that draw the levels of some fields, given their context, in place of
        their densities.

        Returns channels, (n, F), and codes, (n, C), of the encoded events, their fields
        as the log has them, and the context of the field `until`.
        """
        module, learned = self.module, self.learned
        n = len(paths.number)
        channels, codes = learned.empty_events(n)
        times = channels[:, module.blocks.time]
        learned.encoder.encode_times(paths.times, paths.interarrival, out=times)
        moved_times = self.moved(times)
        context = module.time_context(paths.states, moved_times)
        tied = paths.is_tie.nonzero()[:, 0]
        if module.lines_before is not None and len(tied):
            line_context = module.lines_before(
                paths.output[tied], paths.reader_state.encoded_before(tied)
            )
            context = context.index_add(0, tied, line_context)
        p_applies = torch.ones_like(context[:, 0])
        columns: dict[str, Column] = {}
        applies = np.ones((n, len(learned.fields)), dtype=bool)
        for i, (name, field) in enumerate(learned.fields.items()):
            if name == until:
                break
            own_context = torch.relu(context)
            density, state = module.fields[i], paths.copies.get(i)
            number = learned.number_fields.get(name)
            if number is not None and number.sources:
                copied = learned.number_columns[name].copied
                before = learned.codes_before(name, columns, paths.times, codes)
                codes[:, copied.before] = before
            if draw is not None and name in draw:
                drawn = draw[name](FieldContext(own_context, p_applies))
            elif i == 0 and until is not None and learned.applies is not None:
                drawn, p_applies = self._draw_kind_with(until, own_context, paths)
            else:
                own_codes = self.moved(codes.astype("int64"))
                drawn = density.draw(
                    own_context, paths.draws, state, paths.is_tie, own_codes
                )
            if number is not None and number.base is not None:
                drawn = number.with_ratios(drawn, before[:, 0])
            column = field.column(drawn, applies[:, i], paths.times)
            encoded = self.encoders[name].encode(column, paths.times)
            density.write(column, encoded, channels, codes)
            own = density.own_input(channels, codes)
            if i == 0 and learned.applies is not None:
                applies = learned.applies[own]
            columns[name] = column
            if number is not None and number.sources:
                codes[:, copied.own] = number.codes(column, paths.times, before)
            if i < len(learned.fields) - 1:
                context = context + density.embed(self.moved(own))
                if i == 0:
                    context = context + module.clock_context(moved_times)
        of_until = FieldContext(torch.relu(context), p_applies)
        codes = codes.astype("int64")
        return self.moved(channels), self.moved(codes), columns, of_until

    def _draw_kind_with(
        self, name: str, context: Tensor, paths: Paths
    ) -> tuple[Tensor, Tensor]:
        """Draw kinds of events that have a field, and return their probability.

        If all kinds were drawn, few draws or none might have the field.
        """
        assert self.learned.applies is not None
        applies = self.learned.applies[:, self.number_of(name)]
        kinds, state = self.module.fields[0], paths.copies.get(0)
        found = kinds.probabilities(context, state, paths.is_tie, of_lists=True)
        found *= self.moved(applies)
        return draw_categorical(found, paths.draws), found.sum(dim=1)

    def append(self, paths: Paths, values: Tensor, codes: Tensor) -> Paths:
        """Return the paths after an event of these channels and codes."""
        module, fields = self.module, self.module.fields
        state = paths.reader_state.append(
            module.reader, module.lines_before, values, codes, paths.is_tie
        )
        return replace(
            paths,
            output=state.output,
            reader_state=state,
            n_events=paths.n_events + 1,
            copies={i: fields[i].append(one, codes) for i, one in paths.copies.items()},
        )

    def moved(self, numbers: np.ndarray) -> Tensor:
        """Return a copy of numbers on the device of the network."""
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device)


def row_keys(array: HistoryArray, seed: int, count: bool) -> np.ndarray:
    """Return keys of rows by customer, cutoff and events, as `path_keys` does."""
    rows = pd.util.hash_pandas_object(pd.Series(array), index=False)
    return path_keys(rows.to_numpy(), seed, count)


def _ticks_until(times: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return ticks from each time to an end after it, or the most that fit."""
    if times.dtype == "int64":
        end = np.minimum(end, saturating_add(times, MAX_TICK))
    return end - times


def split_open_baskets(
    learned: LearnedEvents, table: Table, rows: Rows
) -> tuple[RowData, OpenBaskets]:
    """Return rows without their events at the cutoff, and these events.

    The parameters are those of `LearnedEvents.encode`; `learned` has the new levels of
    the rows.
    """
    source = learned.encode(table, rows).sources[0].events
    index, offsets = ranges(source.start, source.stop)
    row = segment_numbers(offsets)
    # Up to rounding, as ties of the likelihood.
    is_open = learned.grid.steps(source.cutoff[row] - source.times[index]) == 0
    n_open = np.bincount(row[is_open], minlength=len(rows.start))
    before = rows._replace(stop=rows.stop - n_open)
    opened, begin = index[is_open], np.append(0, np.cumsum(n_open))
    values = source.channels[opened][:, learned.blocks.network]
    # The first event that a row may see has no predecessor: a lookback may hide some.
    is_first = (n_open > 0) & (before.start >= before.stop)
    values[begin[:-1][is_first], source.interarrival_channel] = 0
    baskets = OpenBaskets(begin, values, source.codes[opened].astype("int64"))
    return learned.encode(table, before), baskets
