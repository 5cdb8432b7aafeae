"""The levels of a categorical field."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import Column

# Codes of every categorical field; rare levels share the last one, if there are any.
UNSEEN, MISSING, FIRST_LEVEL = 0, 1, 2


class Vocabulary(NamedTuple):
    """The levels of a categorical field that have a code of their own, and the rare."""

    levels: pd.Index
    rare: pd.Index

    @classmethod
    def of(cls, column: Column, least: float, most: int | None) -> Vocabulary:
        """Learn from the training events.

        Parameters
        ----------
        column : Column
            Codes of the training events; its categories may hold levels that only
            the future knows.
        least : float
            Fewest events for a code of its own.
        most : int or None
            Most levels with a code of their own.

        Returns
        -------
        Vocabulary
            Levels in their sorted order.
        """
        assert column.categories is not None
        codes = column.values[column.values >= 0]
        counts = np.bincount(codes, minlength=len(column.categories))
        present = np.flatnonzero(counts)
        by_count = present[np.argsort(-counts[present], kind="stable")]
        kept = np.sort(by_count[counts[by_count] >= least][:most])
        rare = np.setdiff1d(present, kept)
        return cls(column.categories[kept], column.categories[rare])

    @property
    def n_codes(self) -> int:
        """Number of codes, with those for unseen, missing and rare levels."""
        return FIRST_LEVEL + len(self.levels) + (len(self.rare) > 0)

    def codes_of(self, categories: pd.Index | None) -> np.ndarray:
        """Codes of the categories of any log, and last that of a missing value."""
        assert categories is not None
        place = self.levels.get_indexer(categories)
        codes = np.where(place >= 0, place + FIRST_LEVEL, UNSEEN).astype("int32")
        codes[categories.isin(self.rare)] = self.n_codes - 1
        return np.append(codes, np.int32(MISSING))
