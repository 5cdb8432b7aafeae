"""The network: read events, and after each say when the next one comes, and what."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm._recurrent.data import BatchPart
from sklearn_seqcrm._recurrent.network import (
    Dropout,
    HistoryReader,
    draw_weights,
    new_generator,
    new_linear,
    without_drawing,
)
from sklearn_seqcrm.event_model._copy_mechanism import CopyCandidates, past_of_steps
from sklearn_seqcrm.event_model._interarrival import NO_GAP
from sklearn_seqcrm.event_model._learned import LearnedEvents
from sklearn_seqcrm.event_model._levels import LevelDensity, LevelField
from sklearn_seqcrm.event_model._numbers import NumberDensity
from sklearn_seqcrm.event_model._time_density import TimeDensity

# A call of the layers costs as much time as so many padded steps.
_STEPS_OF_A_CALL = 256
# States (steps times units) that a CPU reads at once. With twice as many, an LSTM took
# half as much time again for each: malloc takes such arrays from the system anew.
_STATES_AT_ONCE = 2**18


class Stretch(NamedTuple):
    """Steps from `first` up to `last` of the `n` longest sequences."""

    first: int
    last: int
    n: int


def read_in_stretches(
    reader: HistoryReader,
    values: torch.Tensor,
    codes: torch.Tensor,
    lengths: torch.Tensor,
    start: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Outputs of a reader before each event and after the last ones, without padding.

    Short sequences end early, and longer ones go on without them from where they are,
    so that sequences of all lengths are padded no more than those of one.

    Parameters
    ----------
    reader : HistoryReader
        Reads forwards.
    values : Tensor of shape (B, T, F)
        Channels.
    codes : Tensor of shape (B, T, C), int64
        Codes.
    lengths : Tensor of shape (B,), int64
        Number of events of each sequence.
    start : Tensor of shape (H,)
        What stands for the output before any event.

    Returns
    -------
    outputs : Tensor of shape (n_events + B, H)
        Before each event, sequence by sequence; then after the last event of each
        sequence.
    row, step : Tensor of shape (n_events,), int64
        Sequence of each event, and its place there.
    """
    device = lengths.device
    order = lengths.argsort(descending=True, stable=True)
    at_once = None
    if device.type == "cpu":
        at_once = _STATES_AT_ONCE // (len(start) * len(reader.layers))
    stretches = cut_stretches(lengths[order].cpu().numpy(), reader.bptt_steps, at_once)
    # The output after step s - 1 of the k-th longest sequence stands at
    # ``offset[s] + k * stride[s]`` among all outputs, and `start` before them.
    offset, stride = np.zeros((2, values.shape[1] + 1), "int64")
    outputs, state, at = [start[None]], None, 1
    for first, last, n in stretches:
        rows = order[:n]
        steps = reader.embed(values[rows, first:last], codes[rows, first:last])
        if state is not None:
            state = state.take(slice(n))
            if reader.bptt_steps is not None:
                state = state.map(torch.Tensor.detach)
        output, state = reader.read(steps, lengths[rows], state)
        outputs.append(output.flatten(0, 1))
        offset[first + 1 : last + 1] = at + np.arange(last - first)
        stride[first + 1 : last + 1] = last - first
        at += n * (last - first)
    is_event = torch.arange(values.shape[1], device=device) < lengths[:, None]
    row, step = is_event.nonzero(as_tuple=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=device)
    ends, ranks = torch.cat([step, lengths]), torch.cat([rank[row], rank])
    offsets, strides = (torch.from_numpy(a).to(device)[ends] for a in (offset, stride))
    # As index_select does, whose backward takes twice the time.
    found = nn.functional.embedding(offsets + ranks * strides, torch.cat(outputs))
    return found, row, step


def cut_stretches(
    lengths: np.ndarray, bptt_steps: int | None, steps_at_once: int | None
) -> list[Stretch]:
    """Cut steps where sequences end, if that saves more padding than a call costs.

    Parameters
    ----------
    lengths : ndarray of shape (B,), int64
        Lengths of sequences, descending.
    bptt_steps : int or None
        Gradients reach no further than this; stretches end where they do.
    steps_at_once : int or None
        Padded steps that a stretch has at most, if it has several steps of a sequence.

    Returns
    -------
    list of Stretch
        In order; none without any event.
    """
    unit = bptt_steps or 1
    longest = int(lengths[0])
    ends = {
        min(-(-end // unit) * unit, longest) for end in _worth_cutting(lengths[::-1])
    }
    stretches = []
    for first, last in pairwise(sorted({0, *ends})):
        n = int(np.count_nonzero(lengths > first))
        most = last - first
        if steps_at_once is not None:
            most = max(1, steps_at_once // (n * unit)) * unit
        stretches += [
            Stretch(at, min(at + most, last), n) for at in range(first, last, most)
        ]
    return stretches


def _worth_cutting(lengths: np.ndarray) -> list[int]:
    """Ends among ascending lengths, where cuts save more padding than calls cost."""
    ends = []
    # Sequences that end within a stretch; all after them go on.
    uncut = [(0, len(lengths))]
    while uncut:
        first, last = uncut.pop()
        ends.append(int(lengths[last - 1]))
        own = lengths[first:last]
        # Saved if the sequences up to each place are not padded to the end.
        saved = np.arange(1, len(own) + 1) * (own[-1] - own)
        best = int(saved.argmax())
        if saved[best] >= _STEPS_OF_A_CALL:
            uncut += [(first, first + best + 1), (first + best + 1, last)]
    return ends


class EventTerms(NamedTuple):
    """Log probabilities of the events of some rows.

    Parameters
    ----------
    row : Tensor of shape (n_events,), int64
        Row of each event.
    time : Tensor of shape (n_events,)
        Of the gap before each event; 0 for the first one, which is given.
    fields : list of Tensor of shape (n_events,)
        Of each field; 0 where its events do not have it.
    silence : Tensor of shape (n,)
        Of no event between the last one and the cutoff; 0 for an empty history.
    """

    row: torch.Tensor
    time: torch.Tensor
    fields: list[torch.Tensor]
    silence: torch.Tensor


class ReadEvents(NamedTuple):
    """Events of some rows, and what the network knows before each.

    Parameters
    ----------
    row, step : Tensor of shape (n_events,), int64
        Row of each event, and its place there.
    states : Tensor of shape (n_events, H)
        State before it.
    values : Tensor of shape (n_events, F)
        Its channels.
    codes : Tensor of shape (n_events, C), int64
        Its codes.
    is_tie : Tensor of shape (n_events,), bool
        Whether it is at the moment of the one before.
    past : dict of str to CopyCandidates of n_events
        What may be copied, of each field of levels.
    last : Tensor of shape (n, H)
        State after the last event of each row.
    """

    row: torch.Tensor
    step: torch.Tensor
    states: torch.Tensor
    values: torch.Tensor
    codes: torch.Tensor
    is_tie: torch.Tensor
    past: dict[str, CopyCandidates]
    last: torch.Tensor


class EventNetwork(nn.Module):
    """A reader, and the distribution of the next event after each event.

    Statics are added to the state wherever it is read. They do not enter the reader,
    which is the one of `LSTMClassifier`.

    Parameters
    ----------
    learned : LearnedEvents
        What was learned of the events.
    n_static : int
        Number of statics.
    cell, hidden_size, num_layers, dropout, bptt_steps, precision
        As in `HistoryReader`.
    copies : bool
        Whether levels of a field may be copied that the customer has had, or be as
        popular as with all customers.
    bidirectional : bool, default=False
        Never: what comes next is not read backwards.
    seed : int, default=0
        Seed of the first weights.
    """

    def __init__(
        self,
        learned: LearnedEvents,
        n_static: int,
        cell: str,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        copies: bool,
        bptt_steps: int | None = None,
        precision: str = "float32",
        bidirectional: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        generator = new_generator(seed)
        layout = learned.encoder.layout
        self.readers = nn.ModuleList(
            [
                HistoryReader(
                    learned.spec,
                    cell,
                    hidden_size,
                    num_layers,
                    bidirectional,
                    pooling=("last",),
                    dropout=dropout,
                    bptt_steps=bptt_steps,
                    precision=precision,
                    generator=generator,
                )
            ]
        )
        self.first = nn.Parameter(torch.zeros(hidden_size, dtype=torch.float32))
        self.n_static = n_static
        if n_static:
            self.statics = new_linear(n_static, hidden_size, generator)
            nn.init.zeros_(self.statics.bias)
        self.dropout = Dropout(dropout)
        self.time = TimeDensity(hidden_size, learned.gaps, generator)
        self.copies = copies
        self.n_channels = len(layout.channels)
        self.gap_channel = layout.gap_channel
        self.enter = new_linear(hidden_size, hidden_size, generator)
        self.times = draw_weights(
            without_drawing(
                nn.Linear, self.n_channels - self.gap_channel, hidden_size, bias=False
            ),
            self.n_channels - self.gap_channel,
            generator,
        )
        self.fields = nn.ModuleDict()
        self.codes: dict[str, int] = {}
        self.channels: dict[str, list[int]] = {}
        self.targets: dict[str, slice] = {}
        at = self.n_channels + 2
        for i, (name, field) in enumerate(learned.fields.items()):
            key = f"{i}"  # a name may have a dot, which those of modules have not
            if isinstance(field, LevelField):
                self.codes[key] = layout.codes.index(name)
                self.fields[key] = LevelDensity(hidden_size, field, copies, generator)
                continue
            self.channels[key] = learned.channels_of(name)
            n = len(self.channels[key])
            self.fields[key] = NumberDensity(hidden_size, field, n, generator)
            self.targets[key] = slice(at, at + field.n_targets)
            at += field.n_targets
        applies = learned.applies
        self.register_buffer(
            "applies", None if applies is None else torch.from_numpy(applies)
        )

    @property
    def reader(self) -> HistoryReader:
        """The reader of the events."""
        return self.readers[0]

    def forward(self, part: BatchPart) -> torch.Tensor:
        """Negative log likelihood of each row that has a sequence of its own.

        Parameters
        ----------
        part : BatchPart
            Rows, each with its own sequence. The last column of statics is how long
            there was no event before the cutoff.

        Returns
        -------
        Tensor of shape (n, 1)
            Of all events of the row together, and of no further one until its cutoff.
        """
        terms = self.terms(part)
        of_events = terms.time
        for one in terms.fields:
            of_events = of_events + one
        total = terms.silence.index_add(0, terms.row, of_events)
        return -total[:, None]

    def terms(self, part: BatchPart) -> EventTerms:
        """Log probabilities of each event of such rows, and of the silence after it."""
        [history] = part.histories
        events = self.read(part)
        cells = events.values[:, self.n_channels : self.n_channels + 2]
        time = self.time.log_prob(events.states, cells)
        time = time.masked_fill(events.step == 0, 0.0)
        silence = self.time.log_survival(events.last, part.static[:, -1])
        silence = silence.masked_fill(history.lengths == 0, 0.0)
        fields = [
            self.log_prob_of(key, told, events)
            for key, told in self.told_fields(events)
        ]
        return EventTerms(events.row, time, fields, silence)

    def read(self, part: BatchPart) -> ReadEvents:
        """Read rows that have a sequence each."""
        [history] = part.histories
        lengths, codes, values = history.lengths, history.codes, history.values
        states, row, step = read_in_stretches(
            self.reader, values[:, :, : self.n_channels], codes, lengths, self.first
        )
        # Padding is left behind before anything else is done to the states.
        if self.n_static:
            rows = torch.cat([row, torch.arange(len(lengths), device=row.device)])
            states = states + self.of_statics(part.static)[rows]
        states = self.dropout(states)
        is_tie = self.is_tie(values)
        is_tie[:, :1] = False
        past = {}
        if self.copies:
            for key, code in self.codes.items():
                repeats = self.fields[key].copies.repeats
                past[key] = past_of_steps(codes[:, :, code], repeats, is_tie, row, step)
        return ReadEvents(
            row,
            step,
            states[: len(row)],
            values[row, step],
            codes[row, step],
            is_tie[row, step],
            past,
            states[len(row) :],
        )

    def told_fields(self, events: ReadEvents) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each field, and what it is told of events, given those before it."""
        times = events.values[:, self.gap_channel : self.n_channels]
        told = self.told_time(events.states, times)
        for i, (key, density) in enumerate(self.fields.items()):
            yield key, torch.relu(told)
            if i < len(self.fields) - 1:
                own = (
                    events.codes[:, self.codes[key]]
                    if key in self.codes
                    else events.values[:, self.channels[key]]
                )
                told = told + density.told(own)

    def log_prob_of(
        self, key: str, told: torch.Tensor, events: ReadEvents
    ) -> torch.Tensor:
        """Log probability of a field; 0 for events whose kind does not have it."""
        density = self.fields[key]
        if key in self.codes:
            own, past = events.codes[:, self.codes[key]], events.past.get(key)
            log_prob = density.log_prob(told, own, past, events.is_tie)
        else:
            log_prob = density.log_prob(told, events.values[:, self.targets[key]])
        if self.applies is None:
            return log_prob
        kind = events.codes[:, self.codes["0"]]
        return log_prob.masked_fill(~self.applies[kind, int(key)], 0.0)

    def pooled(self, part: BatchPart) -> torch.Tensor:
        """Output of the reader after the last event of each row, shape (n, H)."""
        [history] = part.histories
        steps = self.reader.embed(
            history.values[:, :, : self.n_channels], history.codes
        )
        outputs, _ = self.reader.read(steps, history.lengths)
        return history.take_rows(self.reader.pool(outputs, history))

    def top_of(self, state: list[torch.Tensor]) -> torch.Tensor:
        """The output of the reader in its state, shape (n, H)."""
        return state[-(len(state) // len(self.reader.layers))]

    def of_statics(self, static: torch.Tensor) -> torch.Tensor:
        """What statics add to the state, shape (n, H); the last column is none."""
        if not self.n_static:
            return static.new_zeros(len(static), len(self.first))
        return self.statics(static[:, : self.n_static])

    def told_time(self, states: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """What the first field is told: the state, and when the event comes.

        Parameters
        ----------
        states : Tensor of shape (n, H)
            State before the event.
        times : Tensor of shape (n, n_times)
            Channels of the event from its gap on.
        """
        return self.enter(states) + self.times(times)

    def is_tie(self, values: Any) -> Any:
        """Which events of some channels, (..., F), are at the moment of the one before.

        The first ones of histories are none, whatever it says.
        """
        return values[..., self.n_channels + 1] == NO_GAP

    def n_codes(self, key: str) -> int:
        """Number of codes of a field of levels."""
        return self.fields[key].vectors.num_embeddings
