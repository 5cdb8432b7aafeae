"""Exposures of rows: the time over which a target was counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

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

    Parameters
    ----------
    column : int
        Position of the exposure among the row features and statics.
    mean : float
        Logarithm of the mean exposure in the first call.
    """

    column: int
    mean: float

    def to_offset(self, data: RowData, name: Any) -> RowData:
        """Move the exposure from the statics of rows into their offset.

        Raises
        ------
        ValueError
            If exposures are not larger than 0.
        """
        found = data.static[:, self.column].astype("float64")
        bad = int((~(found > 0)).sum())
        if bad:
            raise ValueError(
                f"Exposures must be larger than 0; {bad} of {len(found)} in "
                f"{name!r} are not. Leave those rows out. If a step before has scaled "
                "the column, let that pass it on as it is, like make_history_pipeline "
                "does for the exposure of the estimator that it is given."
            )
        offset = (np.log(found) - self.mean).astype(data.static.dtype)
        others = np.delete(data.static, self.column, axis=1)
        return replace(data, static=others, offset=offset)


def learn_exposure(
    data: RowData, weight: np.ndarray | None, column: int, ranks: Ranks
) -> Exposure:
    """Learn the mean exposure from the rows with a weight.

    `data` are the rows of this rank, and `weight` those of all ranks. `column` is the
    position of the exposure among row features and statics.
    """
    found = ranks.concatenate(data.static[:, column].astype("float64"))
    if weight is not None:
        found = found[has_weight(weight)]
    # Exposures that are not positive are an error when the offset is computed.
    found = found[found > 0]
    return Exposure(column, float(np.log(found.mean())) if len(found) else 0.0)


def exposure_column(name: Any, names: Sequence[Any] | None, n_static: int) -> int:
    """Return the position of the exposure among the row features and statics.

    Parameters
    ----------
    name : str or int
        Name of its column; for arrays and padded tensors its position, which may be
        negative to count from the end.
    names : sequence or None
        Names of the statics, which follow the row features. None: unknown.
    n_static : int
        Number of row features and statics.

    Raises
    ------
    ValueError
        If there is no such column.
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
