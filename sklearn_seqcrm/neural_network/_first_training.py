"""What the first training of a network predicts for the rows at the latest cutoffs.

A network that validates forward in time is trained until the latest cutoffs, and then
on all rows. A hybrid learns its weight by what the first training predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from sklearn_seqcrm._columns import ForwardSplit
from sklearn_seqcrm._recurrent.data import RowData


class NetworkOutputs(NamedTuple):
    """Outputs of all networks for some rows, which prediction methods take as X."""

    # Outputs of each network, which was run before, (n, n_outputs), float64.
    of_each: list[np.ndarray]


class FirstTraining(NamedTuple):
    """Rows of a split forward in time, and outputs for the latest ones."""

    n_rows: int  # number of rows of the fit; those without weight are left out
    # int64: positions of the rows of the first training among them.
    train: np.ndarray
    latest: np.ndarray  # int64: positions of the rows at the latest cutoffs
    # Outputs of the network after the first training, for the latest rows.
    outputs: NetworkOutputs


def check_first_training(model: Any, refits: bool) -> None:
    """Raise a ValueError if a report is wanted of a fit without a second training.

    `refits` is whether there will be one.
    """
    if model._on_first_training is None or refits:
        return
    reason = model.validation_["reason"] or "refit=False or warm_start=True"
    raise ValueError(
        "cv='latest' needs a network that is trained until the latest cutoffs and "
        f"then on all rows. This one is not, because of: {reason}. cv=None holds "
        "out customers."
    )


def report_first_training(
    model: Any, data: RowData, split: ForwardSplit | None
) -> None:
    """Report what the first training, on ``split.train``, predicts."""
    if model._on_first_training is None or split is None:
        return
    model._adjust(data.take(split.train))
    outputs = NetworkOutputs(model._outputs_of(data.take(split.latest)))
    found = FirstTraining(len(data), split.train, split.latest, outputs)
    model._on_first_training(found)


@contextmanager
def on_first_training(
    network: Any, report: Callable[[FirstTraining], None]
) -> Iterator[None]:
    """Call `report` with the first training of each fit within the ``with`` block."""
    network._on_first_training = report
    try:
        yield
    finally:
        del network._on_first_training
