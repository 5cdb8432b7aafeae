"""Where encoded events have what sources of earlier numbers need.

The codes of a field that has sources, next to each other; the first two precede its
number, so that they are known when it is drawn::

    | base | usual numbers ... | number | ratio to the base |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._encoding import FIRST_LEVEL
from sklearn_seqcrm.event_model._earlier_numbers import EarlierNumbers
from sklearn_seqcrm.event_model._number_codes import (
    N_CODES,
    NO_LEVEL,
    NO_NUMBER,
    NO_UNITS,
    bits_of_codes,
    times_base,
)
from sklearn_seqcrm.event_model._number_sources import NumberSource
from sklearn_seqcrm.event_model._usual_numbers import (
    N_USUAL_CODES,
    LevelNumbers,
    usual_of_codes,
)


class SourceColumn(NamedTuple):
    """Where encoded events have the level and the number of a source."""

    level: int | None  # column of the codes; None: any level will do
    number: slice  # codes of the number, or of its ratio to the base
    is_ratio: bool

    def levels(self, codes: Any) -> Any:
        """Return the levels of events, shape (n,), of codes (n, C); -1 for none."""
        if self.level is None:
            return codes[:, 0] * 0
        return (codes[:, self.level] - FIRST_LEVEL).clip(NO_LEVEL)

    def numbers(self, codes: Tensor) -> Tensor:
        """Return the numbers or ratios of events, shape (n,), int64."""
        return bits_of_codes(codes[:, self.number])


class SourceColumns(NamedTuple):
    """Columns of the codes for the sources of a field; empty if it has none."""

    base: slice  # the number of the field that ratios are to, in units
    usual: slice  # usual numbers of all sources of them
    bits: slice  # the number
    ratio: slice  # its ratio to the base
    own_sources: tuple[SourceColumn, ...]  # of the customer's own numbers
    usual_sources: tuple[SourceColumn, ...]

    @classmethod
    def of(
        cls, sources: Sequence[NumberSource], levels: Mapping[str, int], first: int
    ) -> SourceColumns:
        """Return columns from `first` on; `levels` are those of categorical fields."""
        n_usual = sum(one.is_usual for one in sources)
        has_base = any(one.base is not None for one in sources)
        sizes = has_base, N_USUAL_CODES * n_usual, N_CODES * bool(sources)
        ends = (first + np.cumsum([0, *sizes, N_CODES * has_base])).tolist()
        base, usual, bits, ratio = map(slice, ends[:-1], ends[1:])
        columns: tuple[list[SourceColumn], list[SourceColumn]] = [], []
        for one in sources:
            level = None if one.field is None else levels[one.field]
            is_ratio = one.base is not None
            column = SourceColumn(level, ratio if is_ratio else bits, is_ratio)
            columns[one.is_usual].append(column)
        return cls(base, usual, bits, ratio, *map(tuple, columns))

    @property
    def sources(self) -> tuple[SourceColumn, ...]:
        """All sources, in the order of the gates."""
        return self.own_sources + self.usual_sources

    @property
    def before(self) -> slice:
        """Codes that precede the number: `base` and `usual`."""
        return slice(self.base.start, self.usual.stop)

    @property
    def own(self) -> slice:
        """Codes of the number: `bits` and `ratio`."""
        return slice(self.bits.start, self.ratio.stop)

    def own_levels(self, codes: Tensor) -> Tensor:
        """Return the levels of events in the S sources of own numbers, (n, S), int64.

        `codes`, of shape (n, C), are those of the events. Levels are -1 for none.
        """
        return _side_by_side([one.levels(codes) for one in self.own_sources], codes)

    def own_numbers(self, codes: Tensor) -> Tensor:
        """Return the numbers of events in these sources, (n, S), int64."""
        return _side_by_side([one.numbers(codes) for one in self.own_sources], codes)

    def numbers(self, codes: Tensor) -> Tensor:
        """Return the numbers of events in all sources, (n, S), int64."""
        return _side_by_side([one.numbers(codes) for one in self.sources], codes)

    def are_known(self, codes: Tensor) -> Tensor:
        """Return which events have a number, shape (n,), bool."""
        return bits_of_codes(codes[:, self.bits]) != NO_NUMBER

    def with_usual(self, earlier: EarlierNumbers, codes: Tensor) -> EarlierNumbers:
        """Return earlier numbers of all sources, given the customer's own ones.

        There are no ratios where no number has them: `times_base` has none.
        """
        found = earlier.and_more(usual_of_codes(codes[:, self.usual]))
        if self.base.start == self.base.stop:
            return found
        units = times_base(found.bits, codes[:, self.base].to(torch.int64))
        is_none = (units == NO_UNITS) & self.are_ratios(codes.device)
        return found._replace(bits=found.bits.masked_fill(is_none, NO_NUMBER))

    def are_ratios(self, device: torch.device) -> Tensor:
        """Return which sources have ratios, shape (S,), bool."""
        return torch.tensor([one.is_ratio for one in self.sources], device=device)

    def hide_own_numbers(
        self, codes: np.ndarray, usual: Sequence[LevelNumbers], customer: np.ndarray
    ) -> None:
        """Write usual numbers of other customers into the codes of n training events.

        `usual` are those of training for each source, and `customer`, of shape (n,), is
        as in `LevelNumbers.usual_of_others`.
        """
        first = self.usual.start
        for source, of_levels in zip(self.usual_sources, usual, strict=True):
            bits = source.numbers(torch.from_numpy(codes)).numpy()
            level = source.levels(codes)
            others = of_levels.usual_of_others(bits, level, customer)
            codes[:, first : first + N_USUAL_CODES] = others.codes()
            first += N_USUAL_CODES


def _side_by_side(columns: Sequence[Tensor], codes: Tensor) -> Tensor:
    """Return columns of n events, (n, S), int64; none for no sources."""
    if not columns:
        return codes.new_empty((len(codes), 0), dtype=torch.int64)
    return torch.stack(list(columns), dim=1).to(torch.int64)
