"""Validation rows of a recurrent estimator, and the description of their choice."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm._columns import (
    ForwardSplit,
    NoForwardSplitError,
    connected_note,
    known_horizon,
    stored_lengths,
    warn_short_horizon,
)
from sklearn_seqcrm._recurrent.data import Inputs, RowData
from sklearn_seqcrm._recurrent.training import stops_early
from sklearn_seqcrm._stacklevel import warn_user

# The whole history of each validation customer is read once more in each epoch. On all
# 2,000 customers of two tasks that took a third of the time of training.
_MOST_VALIDATION_CUSTOMERS = 1000


def choose_validation(
    model: Any, inputs: Inputs, y: Any, seed: int
) -> ForwardSplit | None:
    """Return a split forward in time, or None for customers or no validation.

    Sets `validation_`, with the reason if rows are not split forward in time.
    """
    model.validation_ = {"by": None, "reason": None}
    if model.early_stopping is False:
        model.validation_["reason"] = "early_stopping=False"
        return None
    if model.validation == "customers":
        model.validation_["reason"] = "validation='customers'"
        return None
    if model.horizon is None or model._censors:
        model._ranks.refuse_differences(
            stored_lengths(y),
            "have y with other attrs or without attrs, and they have the horizon: "
            "pass targets of sklearn_seqcrm.targets on all ranks or on none",
        )
    try:
        if model.validation == "auto":
            _refuse_automatic_split(model)
        _check_horizon(model, inputs, y)
        customers = inputs.customers()
        split = model._split_forward(inputs, customers, y)
        known = model._as_known(inputs, split)
        model._refuse_split(known.data.target, split)
    except NoForwardSplitError as reason:
        if model.validation == "forward":
            raise ValueError(
                f"validation='forward' is impossible, because {reason}. "
                "validation='customers' sets customers aside."
            ) from None
        model.validation_["reason"] = str(reason)
        return None
    if model.validation_fraction == "auto":
        split = split.limited(customers, _MOST_VALIDATION_CUSTOMERS, seed)
    found = {"since": split.since, "n_epochs": None, "losses": None}
    model.validation_ |= {"by": "forward", **found}
    return split


def _check_horizon(model: Any, inputs: Inputs, y: Any) -> None:
    """Warn if `horizon` is shorter than that of `y`; raise if that does not fit."""
    if not inputs.clocks:
        return
    clock = inputs.clocks[0]
    reason: str | None = None
    try:
        if not clock.rounded_up(**known_horizon(y)) > 0:
            reason = "the horizon of y is not longer than 0"
    except NoForwardSplitError:
        return  # an array, or another target
    except (TypeError, ValueError) as error:
        reason = f"the horizon of y does not fit X: {error}"
    if model.horizon is not None:
        if reason is None:
            given = {"horizon": model.horizon}
            warn_short_horizon(clock, given, y, "at the validation cutoff")
    elif reason is not None:
        raise NoForwardSplitError(reason)


def _refuse_automatic_split(model: Any) -> None:
    """Raise NoForwardSplitError if ``"auto"`` does not split by time."""
    if model.warm_start:
        raise NoForwardSplitError(
            "warm_start=True continues training, and rows of an earlier fit would "
            "be validation rows"
        )
    if model.callbacks:
        raise NoForwardSplitError(
            "callbacks may need a validation loss, and the last training, on all "
            "rows, has none"
        )


def describe_validation(
    model: Any, data: RowData, valid: RowData | None, n_rows: int
) -> None:
    """Add the numbers of rows to `validation_`."""
    n_valid = 0 if valid is None else len(valid)
    is_first = "n_train" not in model.validation_  # of several networks
    if valid is not None and model.validation_["by"] is None:
        model.validation_["by"] = "customers"
    elif valid is None and model.early_stopping == "auto" and is_first:
        # The reason so far is that against a split forward in time.
        model.validation_["reason"] += ", and too few customers to set some aside"
        model.validation_["reason"] += connected_note(len(data.sources))
        of_two_customers = np.arange(len(data)) % 2
        if len(data.sources) > 1 and stops_early("auto", of_two_customers):
            _warn_of_connected_rows(model, len(data))
    model.validation_ |= {
        "n_train": len(data),
        "n_valid": n_valid,
        "n_dropped": n_rows - len(data) - n_valid,
    }


def _warn_of_connected_rows(model: Any, n_rows: int) -> None:
    """Warn that so many rows would stop a training if they were not connected."""
    warn_user(
        f"None of the {n_rows} rows are set aside to choose the number of epochs: "
        f"{model.validation_['reason']}. If rows have several cutoffs, pass "
        "horizon=, the longest time from a cutoff until its label is known, to set "
        "those at the latest cutoffs aside; early_stopping=False silences this "
        "warning."
    )
