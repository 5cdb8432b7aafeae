"""Updates of stored states by new events: strides of customers, and torch kernels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import csr_matrix

from sklearn_seqcrm._recurrent.data import MomentChannels
from sklearn_seqcrm._recurrent.network import (
    HistoryReader,
    OpenMoment,
    RecurrentState,
    StepReader,
    event_poolings,
)

# Most events of a customer in one call of the layers; a power of 2.
_LONGEST = 64
# Most numbers of hidden states at once, as in prediction: 4 MiB.
_STATES = 2**20


def strides(
    starts: np.ndarray, counts: np.ndarray, n_states: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Plan calls of the layers with equally many events of each customer.

    Yields positions of some customers, (B,), and their next T events, (B, T), int64.
    No event is padded: a history of 201 events takes calls of 64 + 64 + 64 + 8 + 1
    events. Padding to the longest history would cost up to 64 times the work where
    lengths differ.

    `starts` and `counts` (n,) are the first event of each customer and the number of
    events, and `n_states` the numbers of the hidden states for each event.

    Examples
    --------
    >>> import numpy as np
    >>> for customers, index in strides(np.array([0, 3, 4]), np.array([3, 1, 2]), 8):
    ...     print(customers.tolist(), index.tolist())
    [0, 2] [[0, 1], [4, 5]]
    [0, 1] [[2], [3]]
    """
    done = np.zeros_like(counts)
    length = _LONGEST
    while length:
        waiting = np.flatnonzero(counts - done >= length)
        at_once = max(1, _STATES // (n_states * length))
        for first in range(0, len(waiting), at_once):
            some = waiting[first : first + at_once]
            yield some, (starts[some] + done[some])[:, None] + np.arange(length)
        # 64 is repeated while a customer has as many; shorter powers of 2 occur once.
        done[waiting] += length
        if not len(waiting) or length < _LONGEST:
            length //= 2


class EventReader:
    """A reader that updates the states of many histories, in torch.

    `reader` is a trained one with one direction, which is not copied. For a single
    event of one history, `step` is faster. Both run without gradients, which the caller
    switches off.
    """

    step: StepReader  # the same reader in NumPy
    # (V,): which vectors of a packed state are sums over all events.
    adds_up: list[bool]
    n_states: int  # numbers of the hidden states for one event

    def __init__(self, reader: HistoryReader) -> None:
        self._reader = reader
        self._poolings = event_poolings(reader)
        self.step = StepReader(reader)
        self.n_states = reader.hidden_size * len(reader.layers)
        self.adds_up = [False for layer in self.step.start.cells for _ in layer]
        for pooling, own in zip(self._poolings, self.step.start.poolings, strict=True):
            self.adds_up += [pooling.adds_up] * (len(own[0]) if own else 0)

    @property
    def _places(self) -> MomentChannels:
        """Positions of the channels of events; only if steps are moments."""
        assert self._reader.moments is not None
        return self._reader.moments

    def advance(
        self,
        state: RecurrentState,
        values: torch.Tensor,
        codes: torch.Tensor,
        interarrival: torch.Tensor,
    ) -> RecurrentState:
        """Return the state after T more events of each of B histories.

        `values` (B, T, F) are float32, `codes` (B, T, C) int64, and `interarrival`
        (B, T) float32 in typical ones, any finite number for a first event.
        """
        return self._advance(state, self._reader.embed(values, codes), interarrival)

    def sum_events(
        self,
        values: np.ndarray,
        codes: np.ndarray,
        interarrival: np.ndarray,
        begin: np.ndarray,
    ) -> np.ndarray:
        """Return moments of consecutive events, as `OpenMoment` packs them.

        `values` (n_events, F), `codes` (n_events, C) and `interarrival` (n_events,) are
        as in `advance`, and `begin` (n_moments,) is the first event of each moment. The
        result has the sums over its events, (n_moments, K), float32.
        """
        places, n_events = self._places, len(values)
        ends = np.append(begin, n_events).astype("int32")
        # In float64: a moment may have thousands of events. A product with a sparse
        # matrix takes a fraction of the time of `add.reduceat`.
        ones = np.ones(n_events)
        numbers = np.column_stack([ones, interarrival, values[:, : places.times]])
        member = csr_matrix((ones, np.arange(n_events), ends), (len(begin), n_events))
        sums = member @ numbers  # (n_moments, 2 + t)
        embedded = [
            csr_matrix((ones, codes[:, i], ends), (len(begin), len(own.weight)))
            @ own.weight.double().numpy()
            for i, own in enumerate(self._reader.embeddings)
        ]
        times = values[begin, places.times :]
        vectors = np.concatenate([sums[:, :0], *embedded], axis=1)  # (n_moments, E)
        moment = OpenMoment(sums[:, :1], sums[:, 1:2], times, sums[:, 2:], vectors)
        return moment.pack().astype("float32")

    def add(
        self, moments: np.ndarray, added: np.ndarray, is_earlier: np.ndarray
    ) -> np.ndarray:
        """Return moments (n, K) with the events that join them, both as packed.

        `is_earlier` (n,) is whether those events were late, and begin before their
        moment.
        """
        before, after = (
            OpenMoment.unpack(one, self._places) for one in (moments, added)
        )
        times = np.where(is_earlier[:, None], after.times, before.times)
        return before.add(after)._replace(times=times).pack()

    def advance_moments(
        self, state: RecurrentState, moments: torch.Tensor
    ) -> RecurrentState:
        """Return the state after T more moments (B, T, K), as packed, of B histories.

        Its open moment stays as it is.
        """
        joined = OpenMoment.unpack(moments, self._places)
        return self._advance(
            state, joined.join(self._places), joined.interarrival[..., 0]
        )

    def _advance(
        self, state: RecurrentState, steps: torch.Tensor, interarrival: torch.Tensor
    ) -> RecurrentState:
        """Return the state after steps (B, T, D), with times (B, T) before them."""
        lengths = torch.full((len(steps),), steps.shape[1], device="cpu")
        outputs, after = self._reader.run(steps, lengths, state)  # (B, T, H)
        poolings = state.poolings
        for output, elapsed in zip(
            outputs.unbind(1), interarrival.unbind(1), strict=True
        ):
            poolings = tuple(
                pooling.update(own, output, elapsed)
                for pooling, own in zip(self._poolings, poolings, strict=True)
            )
        return RecurrentState(after.cells, poolings, state.moment)
