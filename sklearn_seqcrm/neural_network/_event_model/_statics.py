"""Statics of raw X as numbers that the network adds to its states."""

from __future__ import annotations

import numpy as np
from sklearn import config_context
from sklearn.compose import ColumnTransformer

from sklearn_seqcrm._reading import Table, static_parts


class StaticNumbers:
    """Encodes the statics of raw rows, as `make_history_pipeline` does."""

    def fit(self, table: Table) -> StaticNumbers:
        """Learn from training rows."""
        # What comes out is no output, whatever table the user wants for those.
        with config_context(transform_output="default"):
            self._columns = ColumnTransformer(static_parts()).fit(table.frame)
        self.n_columns = self.transform(table).shape[1]
        return self

    def transform(self, table: Table) -> np.ndarray:
        """Numbers of rows, shape (n, n_columns), float32."""
        with config_context(transform_output="default"):
            numbers = np.asarray(self._columns.transform(table.frame), "float64")
        return numbers.reshape(len(table.frame), -1).clip(-1e6, 1e6).astype("float32")
