"""The levels of a categorical field."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._encoding._field_encoder import FieldEncoder, Training
from sklearn_seqcrm._ragged import look_up
from sklearn_seqcrm._store import Column, find_ids

# Codes of every categorical field; rare levels share the last one, if there are any.
UNSEEN, MISSING, FIRST_LEVEL = 0, 1, 2
_FEW_LEVELS = 256  # are looked up in less time than it takes to find those that occur


@dataclass(frozen=True, eq=False)
class Vocabulary(FieldEncoder):
    """The levels of a categorical field that have a code of their own, and the rare.

    Parameters
    ----------
    levels, rare : Index
        Both in ascending order.
    """

    levels: pd.Index
    rare: pd.Index
    # Categories of some log, and what was found for them.
    _known: tuple[pd.Index | None, np.ndarray] | None = field(default=None, repr=False)

    @classmethod
    def learn(cls, column: Column, training: Training) -> Self:
        # The categories may hold levels that only the future knows.
        assert column.categories is not None
        counts = np.zeros(len(column.categories), dtype="int64")
        for index, _ in training.blocks():
            codes = column.values[index]
            counts += np.bincount(codes[codes >= 0], minlength=len(counts))
        present = np.flatnonzero(counts)
        by_count = present[np.argsort(-counts[present], kind="stable")]
        enough = counts[by_count] >= training.min_events
        kept = np.sort(by_count[enough][: training.max_levels])
        rare = np.setdiff1d(present, kept)
        return cls(column.categories[kept], column.categories[rare])

    @property
    def n_codes(self) -> int:
        """Number of codes, with those for unseen, missing and rare levels."""
        return FIRST_LEVEL + len(self.levels) + (len(self.rare) > 0)

    def encode(self, column: Column, times: np.ndarray) -> tuple[np.ndarray, None]:
        if self._known is not None and column.categories is self._known[0]:
            table = self._known[1]
        else:
            # A few events shall not cost what the levels do that they do not have.
            column = column.trimmed(more_than=max(len(column.values), _FEW_LEVELS))
            table = self._codes_of(column.categories)
        return look_up(table, column.values, MISSING), None

    def knowing(self, column: Column) -> Vocabulary:
        """The same, which has looked the categories of a column up."""
        return replace(
            self, _known=(column.categories, self._codes_of(column.categories))
        )

    def _codes_of(self, categories: pd.Index | None) -> np.ndarray:
        """Codes of the categories of any log, shape (n_categories,), int32."""
        assert categories is not None
        place = find_ids(categories, self.levels)
        codes = np.where(place >= 0, place + FIRST_LEVEL, UNSEEN).astype("int32")
        if len(self.rare):
            # Of 20,000 strings `isin` took 110 ms, and 100 ms for three of them.
            codes[find_ids(categories, self.rare) >= 0] = self.n_codes - 1
        return codes

    def code_of_each(self) -> list[tuple[Any, int]]:
        """All levels with their codes; all others are 0, and missing ones 1."""
        codes = [*range(FIRST_LEVEL, FIRST_LEVEL + len(self.levels))]
        codes += [self.n_codes - 1] * len(self.rare)
        levels = [*self.levels.tolist(), *self.rare.tolist()]
        return list(zip(levels, codes, strict=True))

    def learned(self) -> tuple[Any, ...]:
        return list(self.levels), list(self.rare)
