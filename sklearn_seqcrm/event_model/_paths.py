"""The paths of a simulation: time and state of each after its last event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._recurrent.network import HistoryReader, OpenMoment, RecurrentState
from sklearn_seqcrm._store import saturating_add
from sklearn_seqcrm.event_model._event_rate import EventRate
from sklearn_seqcrm.event_model._interarrival import InterarrivalGrid
from sklearn_seqcrm.event_model._open_moments import (
    LINE_DECAY,
    LinesBefore,
    embed_lines,
)
from sklearn_seqcrm.event_model._path_draws import PathDraws

# State of the reader ------------------------------------------------------------------


class PathState(NamedTuple):
    """State of a reader after the last event of n paths, whose moment may go on."""

    closed: RecurrentState  # state if the moment ends with this event
    # State before the moment; without cells if each event is a step.
    before: RecurrentState
    # Sums over the events of the moment; without columns if each event is a step.
    moment: OpenMoment
    # (n, 3 H): the events of the moment encoded by `LinesBefore`: their sum, the last
    # of them, and the decayed sum; without columns if each event is a step.
    encoded: Tensor

    @classmethod
    def at_cutoff(cls, reader: HistoryReader, final: RecurrentState) -> Self:
        """Return the state after histories, whose last moments are over."""
        if reader.moments is None:
            nothing = final.output[:, :0]
            return cls(final, RecurrentState(()), OpenMoment(*[nothing] * 5), nothing)
        n, size = final.output.shape
        zeros = final.output.new_zeros(n, OpenMoment.size(reader))
        moment = OpenMoment.unpack(zeros, reader.moments)
        return cls(final, final, moment, final.output.new_zeros(n, 3 * size))

    @property
    def output(self) -> Tensor:
        """Output of the reader after the last event, shape (n, H)."""
        return self.closed.output

    def encoded_before(self, tied: Tensor) -> Tensor:
        """Return `OpenMoments.encoded` for the next line of some moments, (m, 3 H)."""
        total, last, recent = self.encoded[tied].tensor_split(3, dim=1)
        return torch.cat([total / self.moment.count[tied], last, recent], dim=1)

    def append(
        self,
        reader: HistoryReader,
        lines_before: LinesBefore | None,
        values: Tensor,
        codes: Tensor,
        is_tie: Tensor,
    ) -> Self:
        """Return the state after one more event of each path.

        `values`, (n, F), and `codes`, (n, C), are the inputs of the network, and
        `is_tie`, (n,), is True if an event joins the moment of the last one.
        `lines_before` is None if each event is a step.
        """
        lines = embed_lines(reader, values, codes)
        if (places := reader.moments) is None or lines_before is None:
            return self._replace(closed=_run_one_step(reader, lines, self.closed))
        joins = is_tie[:, None]
        # Poolings alone need the time since the last moment.
        unused = torch.zeros_like(values[:, 0])
        vectors = lines[:, places.n_channels :]
        event = OpenMoment.of_event(values, vectors, unused, places)
        joined = zip(self.moment.add(event), event, strict=True)
        moment = OpenMoment(*(torch.where(joins, *both) for both in joined))
        before = self.before.map(
            lambda own, closed: torch.where(joins, own, closed), self.closed
        )
        encoded = lines_before.encode(lines)
        total, _, recent = (self.encoded * joins).tensor_split(3, dim=1)
        memory = [total + encoded, encoded, LINE_DECAY * recent + encoded]
        return type(self)(
            _run_one_step(reader, moment.join(places), before),
            before,
            moment,
            torch.cat(memory, dim=1),
        )


def _run_one_step(
    reader: HistoryReader, inputs: Tensor, state: RecurrentState
) -> RecurrentState:
    """Return the state after a step of each path, whose input has the shape (n, D)."""
    ones = torch.ones(len(inputs), dtype=torch.int64, device=inputs.device)
    _, after = reader.run(inputs[:, None], ones, state)
    return after.map(Tensor.float)  # layers in bfloat16 return such states


# Paths --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Paths:
    """Paths of a batch."""

    number: np.ndarray  # (n,), int64: number of each path among all
    times: np.ndarray  # (n,): time of the last event, or of the next one
    # (n,): ticks from the last event to the next one, once these are drawn; NaN for the
    # first event of a history.
    interarrival: np.ndarray
    n_events: np.ndarray  # (n,), int64: number of simulated events
    output: Tensor  # (n, H): output of the reader after the last event
    static_effect: Tensor  # (n, H): effect of the statics, which is added to the output
    # State of the reader after the last event, whose moment may go on.
    reader_state: PathState
    # (n,), bool: whether the next event is at the moment of the last simulated one.
    is_tie: Tensor
    # What the paths can copy: states of the fields that copy, by their numbers.
    copies: dict[int, Any]
    rate: EventRate  # interarrival times up to the last event
    draws: PathDraws  # random numbers of each path

    def take(self, kept: np.ndarray) -> Paths:
        """Return the paths at some positions, in any order, also repeatedly."""
        if np.array_equal(kept, np.arange(len(self.number))):
            return self
        return replace(self, **_map(partial(_take, kept), vars(self)))

    def concat(self, more: Paths) -> Paths:
        """Return these paths followed by others."""
        return replace(self, **_map(_concat, vars(self), vars(more)))

    @property
    def states(self) -> Tensor:
        """State that densities of the next event depend on, shape (n, H)."""
        return self.output + self.static_effect

    def advance(self, interarrival: np.ndarray, grid: InterarrivalGrid) -> Paths:
        """Return paths at their next event, `interarrival` ticks after the last."""
        device = self.output.device
        is_tie = torch.from_numpy(interarrival == 0).to(device)
        cells = torch.from_numpy(grid.cells(interarrival, self.times))
        lengths = grid.lengths(cells).to(device)
        # The moment of the last event before the cutoff is over.
        has_begun = torch.from_numpy(self.n_events > 0).to(is_tie.device)
        return replace(
            self,
            is_tie=is_tie & has_begun,
            times=saturating_add(self.times, interarrival.astype(self.times.dtype)),
            interarrival=interarrival,
            copies={i: one.advance(is_tie) for i, one in self.copies.items()},
            rate=self.rate.after(lengths, grid.rate_prior),
        )


def _map(function: Callable[..., Any], *same: Any) -> Any:
    """Apply a function to each array, tensor and state in attributes of `Paths`.

    With those of several paths in `same`, it gets the same ones of all.
    """
    if isinstance(same[0], dict):
        return {key: _map(function, *(one[key] for one in same)) for key in same[0]}
    if isinstance(same[0], tuple):
        make = getattr(same[0], "_make", type(same[0]))  # of a NamedTuple
        return make(_map(function, *parts) for parts in zip(*same, strict=True))
    return function(*same)


def _take(kept: np.ndarray, one: Any) -> Any:
    """Return the entries of some paths."""
    if isinstance(one, Tensor):
        return one[torch.from_numpy(kept).to(one.device)]
    return one[kept] if isinstance(one, np.ndarray) else one.take(kept)


def _concat(one: Any, two: Any) -> Any:
    """Return the entries of paths followed by those of others."""
    if isinstance(one, np.ndarray):
        return np.concatenate([one, two])
    return torch.cat([one, two]) if isinstance(one, Tensor) else one.concat(two)
