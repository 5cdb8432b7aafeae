"""The network of an event model.

After every event the network gives the distribution of the next one. A history of n
events becomes n interarrival times, the last one censored, and the fields of n events::

    state      h_0      h_1      h_2      h_3     h_0 is learned
    event          e_1      e_2      e_3       |  cutoff
    targets     fields_1 fields_2 fields_3
                        time_2   time_3   time > t - t_3   (censored)

    log p = sum_i { log p(time_i | h_{i-1})
                    + sum_k log p(field_ik | h_{i-1}, time_i, field_i1 ... i,k-1) }
            + log P(no event until the cutoff | h_n)

(marked temporal point process: Du et al., "Recurrent Marked Temporal Point Processes",
KDD 2016). The first event of a history has no interarrival time: its time is given.

The first field does not see the hour and the weekday of time_i. The density of the time
cannot be as narrow as a schedule. If mailings come at nine on Mondays, and the kind of
an event depended on the exact time, mailings drawn at ten or on Tuesdays would become
purchases, and the mailing would remain due: simulated purchases were nearly three times
as many as real ones.

If steps are moments, h_i is the state of a history that ends with event i, be it within
a moment or at its end: see `_open_moments`. Events 1 and 2 at one time::

    events        e_1         e_2    |    e_3
    steps       | m_1 = {e_1, e_2}   | m_2 = {e_3}
    state    h_0  h_1 = step(h_0, {e_1})
                              h_2 = step(h_0, {e_1, e_2})
                                          h_3 = step(h_2, {e_3})
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.data import BatchPart
from sklearn_seqcrm._recurrent.network import (
    Dropout,
    HistoryReader,
    RecurrentState,
    float32_tensor,
    new_generator,
    new_linear,
)
from sklearn_seqcrm.event_model._event_batches import EventPart, VisibleEvents
from sklearn_seqcrm.event_model._event_rate import EventRate
from sklearn_seqcrm.event_model._gradients import joint_linear
from sklearn_seqcrm.event_model._interarrival import TIE, TimeDensity
from sklearn_seqcrm.event_model._learned import LearnedEvents, split_static
from sklearn_seqcrm.event_model._line_order import RandomLineOrder
from sklearn_seqcrm.event_model._open_moments import (
    LinesBefore,
    OpenMoments,
    embed_lines,
    join_lines_before,
    open_outputs,
)
from sklearn_seqcrm.event_model._segments import (
    EmbedSegments,
    gather_segments,
    run_in_segments,
)


class EventLogProbs(NamedTuple):
    """Log probabilities of the events of some rows."""

    # (n_events,): log probability of the interarrival time; 0 for the first event,
    # whose time is given.
    time: Tensor
    # (n_events,): log probability of each field; 0 for events that do not have it.
    fields: list[Tensor]
    # (n,): log probability of no event between the last one and the cutoff; 0 for an
    # empty history.
    survival: Tensor


class EventStates(NamedTuple):
    """Events of some rows, and the state of the network before each."""

    events: VisibleEvents
    states: Tensor  # (n_events, H): state before each event
    # (n_events,), bool: whether an event is at the moment of the previous one.
    is_tie: Tensor
    later: Tensor  # (n_later,), int64: later lines of moments
    # (n_later, H), or None: context of their fields from the lines before; None if
    # there are no such lines.
    line_context: Tensor | None
    candidates: list[Any]  # what the events can copy, for each field; None: nothing
    last: Tensor  # (n, H): state after the last event of each row


class EventNetwork(nn.Module):
    """A reader, and the distribution of the next event after each event.

    A linear map of the n_static statics is added to the state, of length hidden_size,
    wherever a density uses it. It does not enter the reader, which is the one of
    `LSTMClassifier` and runs only forwards. With `copies`, values may be copied from
    the history. `learned` are the parameters learned from training events, `seed` that
    of the first weights, and `dropout` a probability in the reader and of states.
    """

    def __init__(
        self,
        learned: LearnedEvents,
        n_static: int,
        copies: bool,
        seed: int,
        hidden_size: int,
        dropout: float,
        **reader_options: Any,
    ) -> None:
        super().__init__()
        generator = new_generator(seed)
        reader = HistoryReader(
            learned.spec,
            hidden_size=hidden_size,
            dropout=dropout,
            pooling=("last",),
            generator=generator,
            **reader_options,
        )
        self.readers = nn.ModuleList([reader])
        self.initial_output = nn.Parameter(float32_tensor(np.zeros(hidden_size)))
        self.n_static = n_static
        if n_static:
            self.from_statics = new_linear(n_static, hidden_size, generator)
            nn.init.zeros_(self.from_statics.bias)
        self.dropout = Dropout(dropout)
        self.grid = learned.grid
        self.time = TimeDensity(hidden_size + 1, self.grid, generator)
        self.blocks = learned.blocks
        self.from_state = new_linear(hidden_size, hidden_size, generator)
        n_times = self.blocks.time.stop - self.blocks.time.start
        self.from_time = new_linear(n_times, hidden_size, generator, bias=False)
        is_clock = torch.from_numpy(learned.is_clock)
        self.register_buffer("is_clock", is_clock, persistent=False)
        self.fields = nn.ModuleList(learned.densities(hidden_size, copies, generator))
        self.lines_before: LinesBefore | None = None
        if reader.moments is not None:
            self.lines_before = LinesBefore(reader.event_size, hidden_size, generator)
        self.line_order = RandomLineOrder() if learned.shuffles_lines else None
        applies = learned.applies
        self.register_buffer(
            "applies", None if applies is None else torch.from_numpy(applies)
        )

    @property
    def reader(self) -> HistoryReader:
        """The reader of the events."""
        return self.readers[0]

    # Likelihood -------------------------------------------------------------------

    def forward(self, part: EventPart) -> Tensor:
        """Return the negative log likelihood of rows, shape (n, 1).

        In training, the lines of a moment are in random order if it has no meaning.
        """
        if self.training and self.line_order is not None:
            order = self.line_order(part.events.n_before)
            events = part.events.in_order(order, self.blocks.times)
            part = replace(part, events=events)
        found = self.log_probs(part)
        of_events = sum(found.fields, found.time)
        total = found.survival.index_add(0, part.events.row, of_events)
        return -total[:, None]

    def log_probs(self, part: EventPart) -> EventLogProbs:
        """Return log probabilities of events, and of no further one before cutoffs."""
        found = self.states(part)
        time, survival = self.time_log_probs(part, found)
        fields = [
            self.field_log_prob(i, context, found)
            for i, context in enumerate(self.field_contexts(found))
        ]
        return EventLogProbs(time, fields, survival)

    def time_log_probs(
        self, part: EventPart, found: EventStates
    ) -> tuple[Tensor, Tensor]:
        """Return log probabilities of times, and of no further event before cutoffs.

        They are those of `EventLogProbs`, of the shapes (n_events,) and (n,).
        """
        events = part.events
        cells, is_first = events.values[:, self.blocks.cell], events.position == 0
        own, lengths = split_static(part.static), self.grid.lengths(cells)
        rate = EventRate.before_events(
            lengths, is_first, own.waited[events.row], self.grid.rate_prior
        )
        time = self.time.log_prob(self.time_inputs(found.states, rate), cells)
        inputs = self.time_inputs(found.last, own.rate)
        survival = self.time.log_survival(inputs, own.log_censoring_time)
        return (
            time.masked_fill(is_first, 0.0),
            survival.masked_fill(events.n_steps == 0, 0.0),
        )

    def states(self, part: EventPart) -> EventStates:
        """Return the states before the events of rows with a sequence each."""
        events = part.events
        n, device = len(events.n_steps), events.row.device
        opened = self._open_moments(events)
        found = run_in_segments(
            self.reader,
            self._embedding_of(part),
            events.n_steps,
            self.initial_output,
            with_layers=opened is not None,
        )
        row = torch.cat([events.row, torch.arange(n, device=device)])
        place = found.place(row, torch.cat([events.step, events.n_steps]))
        table = found.outputs
        later, line_context = events.row[:0], None
        if opened is not None and self.lines_before is not None:
            later = opened.later
            outputs = open_outputs(
                self.reader, opened.inputs, found.layers, place[later]
            )
            line_context = self.lines_before(outputs, opened.encoded)
            place[later] = torch.arange(len(later), device=device) + len(table)
            table = torch.cat([table, outputs])
        # index_select does the same, but its backward pass takes twice the time.
        states = nn.functional.embedding(place, table)  # (n_events + n, H)
        if self.n_static:
            states = states + self.static_effect(part.static)[row]
        states = self.dropout(states)
        is_tie = self.is_tie(events.values) & (events.position > 0)
        candidates = [
            one.candidates(events.codes, is_tie, events.row) for one in self.fields
        ]
        before, last = states.split([len(events.row), n])
        return EventStates(
            events, before, is_tie, later, line_context, candidates, last
        )

    def _open_moments(self, events: VisibleEvents) -> OpenMoments | None:
        """Return the later lines of moments; None if there are none."""
        if self.lines_before is None or not events.n_before.any():
            return None
        values = events.values[:, self.blocks.network]
        lines = embed_lines(self.reader, values, events.codes)
        encoded = self.lines_before.encode(lines)
        return join_lines_before(self.reader, lines, encoded, events.n_before)

    def _embedding_of(self, part: EventPart) -> EmbedSegments:
        """Return a function that embeds the steps of segments."""
        events = part.events
        if not part.histories:
            values = events.values[:, self.blocks.network]
            steps = embed_lines(self.reader, values, events.codes)
            begin = events.n_steps.cumsum(dim=0) - events.n_steps
            return lambda segments: gather_segments(
                steps, begin, events.n_steps, segments
            )
        [history] = part.histories
        embedded = self.reader.embed(history.values, history.codes, history.levels)
        return lambda segments: [embedded[rows, steps] for rows, steps in segments]

    def field_contexts(self, found: EventStates) -> Iterator[Tensor]:
        """Yield the context of each field: state, time and the fields before it."""
        events = found.events
        times = events.values[:, self.blocks.time]
        context = self.time_context(found.states, times)
        if found.line_context is not None:
            context = context.index_add(0, found.later, found.line_context)
        for i, density in enumerate(self.fields):
            yield torch.relu(context)
            if i < len(self.fields) - 1:
                own = density.own_input(events.values, events.codes)
                context = context + density.embed(own)
                if i == 0:
                    context = context + self.clock_context(times)

    def field_log_prob(self, i: int, context: Tensor, found: EventStates) -> Tensor:
        """Return log probabilities of field i; 0 for events that do not have it."""
        density, events = self.fields[i], found.events
        target = density.own_target(events.values, events.codes)
        candidates, is_tie = found.candidates[i], found.is_tie
        log_prob = density.log_prob(context, target, candidates, is_tie)
        if self.applies is None:
            return log_prob
        kind = self.fields[0].own_input(events.values, events.codes)
        return log_prob.masked_fill(~self.applies[kind, i], 0.0)

    # Inputs of densities ----------------------------------------------------------

    def time_context(self, states: Tensor, times: Tensor) -> Tensor:
        """Return the context of the first field, shape (n, H).

        `states`, of shape (n, H), are those before events, and `times`, (n, n_times),
        the channels of the events in the block `time`, without effect of the hour and
        the weekday.
        """
        times = times.masked_fill(self.is_clock, 0.0)
        weight = torch.cat([self.from_state.weight, self.from_time.weight], dim=1)
        return joint_linear(states, times, weight, self.from_state.bias)

    def clock_context(self, times: Tensor) -> Tensor:
        """Return what hour and weekday add to the context of later fields, (n, H).

        `times` are as in `time_context`.
        """
        return self.from_time(times.masked_fill(~self.is_clock, 0.0))

    def time_inputs(self, states: Tensor, rate: EventRate) -> Tensor:
        """Return the inputs of the distribution of the next time, (n, H + 1).

        `states`, of shape (n, H), and `rate` are those after the last event.
        """
        states = self.time.shrunken(states)
        log_rate = rate.log_rate(self.grid.rate_prior)
        return torch.cat([states, log_rate[:, None]], dim=1)

    def time_inputs_at_cutoffs(self, part: BatchPart) -> Tensor:
        """Return `time_inputs` after the last event of rows."""
        states = self.last_outputs(part) + self.static_effect(part.static)
        return self.time_inputs(states, split_static(part.static).rate)

    def static_effect(self, static: Tensor) -> Tensor:
        """Return the effect of statics, which is added to the state, shape (n, H)."""
        if not self.n_static:
            return static.new_zeros(len(static), len(self.initial_output))
        return self.from_statics(split_static(static).statics)

    def is_tie(self, values: Any) -> Any:
        """Return which events, channels of shape (..., F), have a cell that is a tie.

        For the first event of a history it is meaningless.
        """
        return values[..., self.blocks.cell.stop - 1] == TIE

    def last_outputs(self, part: BatchPart) -> Tensor:
        """Return the output of the reader after the last event of rows, (n, H)."""
        [history] = part.histories
        return self.reader(history)

    # Recurrent states -------------------------------------------------------------

    def final_states(self, part: BatchPart) -> RecurrentState:
        """Return the recurrent state after the last event of each row, 0 without any.

        A padded layer returns the state after the padding. So layers run over segments,
        from the end of one sequence to the end of the next longer one. Sequences of a
        batch are of similar length, so that nearly all steps are in one long segment.
        """
        [history] = part.histories
        reader, lengths = self.reader, history.lengths
        steps = reader.embed(history.values, history.codes, history.levels)
        order = lengths.argsort(descending=True)
        sorted_lengths = lengths[order]
        final = reader.start(len(lengths))
        state: RecurrentState | None = None
        at = 0
        for end in lengths.unique().tolist():
            if end == 0:
                continue
            n = int((sorted_lengths >= end).sum())
            if state is not None:
                state = state.take(slice(n))
            _, state = reader.run(steps[order[:n], at:end], sorted_lengths[:n], state)
            ended = sorted_lengths[:n] == end
            # Layers in bfloat16 return such states.
            own = state.take(ended).map(Tensor.float)
            final.put(order[:n][ended], own)
            at = end
        return final
