"""Exposures of rows: the time over which a target was counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np

from sklearn_seqcrm._recurrent.data import Ranks, RowData
from sklearn_seqcrm._recurrent.objectives._weights import has_weight


class Exposure(NamedTuple):
    """The column with the exposure of each row, and its mean.

    The logarithm of the exposure is an offset, as in generalised linear models: it is
    added to the logarithm of the rate, ``log(rate) = z + log(exposure / mean)``. The
    head does not get it. Long windows belong to early cutoffs and hence to other
    customers: a head with the length as an input confounds the two, and extrapolates
    the confounded effect to lengths beyond those of training.
    """

    column: int  # position of the exposure among the row features and statics
    mean: float  # logarithm of the mean exposure in the first call
    name: str | int  # of the column, or its position, for errors

    @classmethod
    def learn(
        cls,
        name: str | int,
        names: Sequence[Any] | None,
        data: RowData,
        weight: np.ndarray | None,
        ranks: Ranks,
    ) -> Self:
        """Find the column, and learn the mean from the rows with a weight.

        `name` and `names` are those of `_find_column`. `data` are the rows of this
        rank, and `weight` those of all ranks.
        """
        n_static = data.static.shape[1]
        column = ranks.attempt(lambda: _find_column(name, names, n_static))
        found = ranks.concatenate(data.static[:, column].astype("float64"))
        if weight is not None:
            found = found[has_weight(weight)]
        # Exposures that are not positive are an error when the offset is computed.
        found = found[found > 0]
        mean = float(np.log(found.mean())) if len(found) else 0.0
        return cls(column, mean, name)

    def to_offset(self, data: RowData, sample_weight: Any = None) -> RowData:
        """Move the exposure from the statics of rows into their offset.

        A ValueError is raised for exposures that are not larger than 0, unless their
        row has the weight 0: these have the offset of the mean.
        """
        found = data.static[:, self.column].astype("float64")
        if sample_weight is not None:
            found[(found <= 0) & (np.asarray(sample_weight) == 0)] = np.exp(self.mean)
        bad = int((~(found > 0)).sum())
        if bad:
            raise ValueError(
                f"Exposures must be larger than 0; {bad} of {len(found)} in "
                f"{self.name!r} are not. Leave those rows out. If a step before has "
                "scaled the column, let that pass it on as it is, like "
                "make_history_pipeline does for the exposure of the estimator that it "
                "is given."
            )
        offset = (np.log(found) - self.mean).astype(data.static.dtype)
        others = np.delete(data.static, self.column, axis=1)
        return replace(data, static=others, offset=offset)


def _find_column(name: str | int, names: Sequence[Any] | None, n_static: int) -> int:
    """Return the position of the exposure among `n_static` row features and statics.

    `name` is the name of the column or, for arrays and padded tensors, its position,
    from the end if negative. `names` are the names of the statics, which follow the row
    features, or None if they have none.
    """
    if names is not None:
        if name in names:
            return n_static - len(names) + list(names).index(name)
        raise ValueError(
            f"X has no column {name!r} to be the exposure; its statics are "
            f"{list(names)}."
        )
    if isinstance(name, str):
        raise ValueError(
            f"exposure={name!r} is the name of a column, and this X has no names. Give "
            "a DataFrame, or the position of the column; in padded tensors that in "
            "'static', such as -1 for the last one."
        )
    if not -n_static <= name < n_static:
        raise ValueError(
            f"exposure={name!r} is no position of a column; X has {n_static}."
        )
    return int(name) % n_static
