"""Earlier numbers that simulated paths can have again.

`_earlier_numbers` has the formulas. `ObservedNumbers` has the last number of each row
and level until the cutoff, and `NumberState` the numbers that each path adds to them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._ragged import ranges, segment_numbers
from sklearn_seqcrm._recurrent.data import HistorySource
from sklearn_seqcrm.event_model._copy_state import row_portions
from sklearn_seqcrm.event_model._earlier_numbers import EarlierNumbers, outcomes
from sklearn_seqcrm.event_model._event_columns import EventColumns
from sklearn_seqcrm.event_model._number_codes import NO_LEVEL, NO_NUMBER

_N_LEVELS = 2**31  # more than any field has


class ObservedNumbers(NamedTuple):
    """The last numbers of rows until their cutoffs, from S sources."""

    # For each source (n_found + 1,), int64: ``row * 2^31 + level`` of each row and
    # level with a number, ascending, and then one that no row has.
    keys: tuple[Tensor, ...]
    bits: tuple[Tensor, ...]  # (n_found + 1,), int64: the last number of each
    n_equal: Tensor  # (n, S), float32: as in `EarlierNumbers`, after the last event
    n_trials: Tensor  # (n, S), float32

    @classmethod
    def of(
        cls,
        source: HistorySource,
        numbers: Tensor,
        levels: Tensor,
        device: torch.device,
    ) -> ObservedNumbers:
        """Return the numbers of rows, on a device.

        `numbers` and `levels`, of shape (n_events, S), are those of the events of the
        source; see `EarlierNumbers.before`.
        """
        n, n_sources = len(source.stop), levels.shape[1]
        counts = torch.zeros((2, n, n_sources), dtype=torch.float32, device="cpu")
        keys: list[list[Tensor]] = [[] for _ in range(n_sources)]
        lasts: list[list[Tensor]] = [[] for _ in range(n_sources)]
        for rows in row_portions(source):
            index, offsets = ranges(source.start[rows], source.stop[rows])
            row = torch.from_numpy(rows[segment_numbers(offsets)])
            earlier = EarlierNumbers.before(numbers[index], levels[index], row)
            found = outcomes(earlier.bits, numbers[index])
            for sums, some in zip(counts, found, strict=True):
                sums.index_add_(0, row, some.to(sums.dtype))
            for k in range(n_sources):
                bits, level = numbers[index, k], levels[index, k]
                some = ((bits != NO_NUMBER) & (level != NO_LEVEL)).nonzero()[:, 0]
                key = row[some] * _N_LEVELS + level[some]
                last = _last_of_each(key)
                keys[k].append(key[last])
                lasts[k].append(bits[some][last])
        end = torch.tensor([np.iinfo("int64").max], device="cpu")
        return cls(
            tuple(torch.cat([*one, end]).to(device) for one in keys),
            tuple(torch.cat([*one, end]).to(device) for one in lasts),
            *counts.to(device),
        )

    def at_cutoff(self, row: Tensor) -> NumberState:
        """Return paths at the cutoffs of rows, of shape (n,), int64."""
        n_sources = len(self.keys)
        dtypes = [*[torch.int64] * n_sources, *[torch.int32] * n_sources]
        events = EventColumns.none(row, dtypes)
        counts = self.n_equal[row], self.n_trials[row]
        return NumberState(self, row, events, *counts)

    def find(self, row: Tensor, levels: Tensor) -> Tensor:
        """Return the numbers that rows had at levels, both (n, S), int64."""
        found = torch.full_like(levels, NO_NUMBER)
        of_sources = zip(self.keys, self.bits, levels.unbind(1), strict=True)
        for k, (keys, bits, level) in enumerate(of_sources):
            key = row * _N_LEVELS + level
            place = torch.searchsorted(keys, key)
            is_found = (keys[place] == key) & (level != NO_LEVEL)
            found[:, k] = bits[place].masked_fill(~is_found, NO_NUMBER)
        return found


def _last_of_each(key: Tensor) -> Tensor:
    """Return where each distinct key is last, by ascending keys."""
    order = key.argsort(stable=True)
    is_last = torch.ones_like(order, dtype=torch.bool)
    is_last[:-1] = key[order][1:] != key[order][:-1]
    return order[is_last]


@dataclass(frozen=True, eq=False)
class NumberState:
    """Earlier numbers of simulated paths, of the history of their rows and since."""

    observed: ObservedNumbers  # numbers of the rows until their cutoffs
    row: Tensor  # (n,), int64: row of each path
    # Simulated events: the number in each source, then one more than the level there;
    # 0 if the event has none.
    events: EventColumns
    n_equal: Tensor  # (n, S), float32: as in `EarlierNumbers`
    n_trials: Tensor  # (n, S), float32

    def take(self, kept: Any) -> NumberState:
        """Return the paths at some positions, an array or tensor of int64."""
        kept = torch.as_tensor(kept, device=self.row.device)
        return replace(
            self,
            row=self.row[kept],
            events=self.events.take(kept),
            n_equal=self.n_equal[kept],
            n_trials=self.n_trials[kept],
        )

    def concat(self, more: NumberState) -> NumberState:
        """Return these paths followed by others of the same rows."""
        return replace(
            self,
            row=torch.cat([self.row, more.row]),
            events=self.events.concat(more.events),
            n_equal=torch.cat([self.n_equal, more.n_equal]),
            n_trials=torch.cat([self.n_trials, more.n_trials]),
        )

    def advance(self, is_tie: Tensor) -> NumberState:
        """Return paths at the moment of their next event."""
        return replace(self, events=self.events.compact())

    def append(self, numbers: Tensor, levels: Tensor) -> NumberState:
        """Return paths with one more event, of numbers and levels, both (n, S)."""
        counts = outcomes(self.before(levels).bits, numbers)
        is_equal, is_trial = (one.to(self.n_equal.dtype) for one in counts)
        recorded = (levels + 1) * (numbers != NO_NUMBER)
        return replace(
            self,
            events=self.events.append([*numbers.unbind(1), *recorded.unbind(1)]),
            n_equal=self.n_equal + is_equal,
            n_trials=self.n_trials + is_trial,
        )

    def before(self, levels: Tensor) -> EarlierNumbers:
        """Return the numbers before an event with these levels, (n, S)."""
        found = self.observed.find(self.row, levels)
        n_sources = levels.shape[1]
        columns = self.events.all()
        if not columns[0].shape[1]:
            return EarlierNumbers(found, self.n_equal, self.n_trials)
        # In int32, as a comparison with int64 takes several times as long.
        column = torch.arange(1, columns[0].shape[1] + 1, device=found.device).int()
        pairs = zip(columns[:n_sources], columns[n_sources:], strict=True)
        for k, (bits, key) in enumerate(pairs):
            own = levels[:, k].int() + 1
            is_own = key == own.masked_fill(own == 0, -1)[:, None]
            last = (is_own * column).amax(dim=1)
            path = last.nonzero()[:, 0]
            found[path, k] = bits[path, last[path] - 1]
        return EarlierNumbers(found, self.n_equal, self.n_trials)
