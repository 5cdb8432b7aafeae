"""Pieces of statics between quantiles: what they add to the first layer of the head.

A network of a few hundred steps hardly learns that an effect has a threshold, such as
that of a sale price. With its range cut at quantiles, it is a weight of one piece
(piecewise linear encoding: Gorishniy, Rubachev and Babenko, On embeddings for numerical
features in tabular deep learning, NeurIPS 2022).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.network._layers import (
    Linear,
    float32_tensor,
    without_drawing,
)

# Pieces have half the standard deviation of other inputs. With as much, smooth effects
# were learned with larger errors; with a quarter, thresholds were.
_SCALE = 0.5
# In some pieces hardly any row differs from the others. This bounds what an outlier is
# there, after division by the spread, to 5.
_LEAST_SPREAD = 0.1
# With fewer observations in a piece, its weight is mostly noise.
_LEAST_COUNT = 100
# Numbers per part of the rows: larger arrays do not stay in the caches of a processor.
# With 200 statics, predictions of 60,000 rows take a third of the time.
_NUMBERS_AT_ONCE = 2**18
# Shorter pieces have no length in float32.
_LEAST_WIDTH = float(np.sqrt(np.finfo("float32").tiny))


class Pieces(NamedTuple):
    """P pieces of statics, each the stretch between two neighbouring quantiles."""

    # (P,), int64: position of the static among row features and statics.
    column: np.ndarray
    low: np.ndarray  # (P,), float64: where the piece begins
    width: np.ndarray  # (P,), float64: its length, positive
    # (P,), float64: mean of the share of the piece that lies below a value.
    center: np.ndarray
    # (P,), float64: twice the standard deviation of the share, which is at least 0.1.
    spread: np.ndarray

    @classmethod
    def learn(
        cls,
        columns: Iterable[tuple[int, np.ndarray]],
        customers: np.ndarray,
        n_pieces: int,
    ) -> Pieces:
        """Cut each static that has more than two values at its quantiles.

        A value counts once per customer: an age in ten rows of a customer is one
        observation, and ten prices are ten. `columns` are positions and values (n,) of
        statics in training rows of `customers` (n,). A static has at most `n_pieces`,
        of 100 observations or more on average; equal quantiles make fewer.
        """
        found: list[tuple[float, ...]] = []
        for column, of_rows in columns:
            least, most = of_rows.min(initial=np.inf), of_rows.max(initial=-np.inf)
            if np.logical_or(of_rows == least, of_rows == most).all():
                continue  # a constant, or two values, for which the static is enough
            pairs = pd.DataFrame({"customer": customers, "value": of_rows})
            values = pairs.drop_duplicates()["value"].to_numpy("float64")
            knots = _knots_of(values, min(n_pieces, len(values) // _LEAST_COUNT))
            if len(knots) < 3:
                continue
            for low, high in pairwise(knots):
                width = high - low
                inside = np.clip((values - low) / width, 0, 1)
                spread = max(inside.std(), _LEAST_SPREAD) / _SCALE
                found.append((column, low, width, inside.mean(), spread))
        at, *others = np.array(found).reshape(-1, 5).T
        return cls(at.astype("int64"), *others)


def _knots_of(values: np.ndarray, n_pieces: int) -> np.ndarray:
    """Return different quantiles of some values, the ends of at most `n_pieces`."""
    if n_pieces < 2:
        return values[:0]
    levels = np.linspace(0, 1, n_pieces + 1)
    knots = np.quantile(values, levels, method="closest_observation")
    return knots[np.diff(knots, prepend=-np.inf) > _LEAST_WIDTH]


class StaticPieces(nn.Module):
    """Weighted sums of pieces, added to the first layer of the head.

    Its weights start at 0: a network starts as it would without pieces.
    """

    column: Tensor
    low: Tensor
    width: Tensor
    center: Tensor
    spread: Tensor

    def __init__(self, pieces: Pieces, n_outputs: int) -> None:
        super().__init__()
        self.register_buffer("column", torch.from_numpy(pieces.column.copy()))
        for name in ("low", "width", "center", "spread"):
            self.register_buffer(name, float32_tensor(getattr(pieces, name)))
        self.within = nn.Hardtanh(0.0, 1.0)
        self.weights = without_drawing(Linear, len(pieces.low), n_outputs, bias=False)
        nn.init.zeros_(self.weights.weight)

    def forward(self, static: Tensor) -> Tensor:
        """Return the sums for rows of statics (n, S), shape (n, n_outputs)."""
        if torch.is_grad_enabled() or static.device.type != "cpu":
            return self._sums(static)
        n_rows = max(1, _NUMBERS_AT_ONCE // len(self.column))
        return torch.cat([self._sums(part) for part in static.split(n_rows)])

    def _sums(self, static: Tensor) -> Tensor:
        inside = self.within((static[:, self.column] - self.low) / self.width)  # (n, P)
        return self.weights((inside - self.center) / self.spread)
