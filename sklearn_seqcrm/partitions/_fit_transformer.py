"""Fit a transformer on the rows of all partitions.

Events are learned from in passes over the partitions (`Learning`). Statics are
collected: `rows_without_events` has all rows, whose histories are empty. So roles of
columns, imputers and one-hot encoders are fitted by the ordinary code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from sklearn_seqcrm._columns import CustomerTargetEncoder
from sklearn_seqcrm._ragged import Pass
from sklearn_seqcrm._store import exact_ids
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.partitions._engines import Engine, Part
from sklearn_seqcrm.partitions._recipes import RowMaker
from sklearn_seqcrm.preprocessing import HistoryEncoder

_FEW_OF_PART = 2  # rows of a partition that are collected if there are no statics


def fit_transformer(transformer: Any, engine: Engine, make: RowMaker) -> Any:
    """Fit a transformer, see `PartitionedRows.fit`."""
    steps = [transformer]
    if isinstance(transformer, Pipeline):
        steps = [step for _, step in transformer.steps[:-1]]
        steps = [step for step in steps if step not in (None, "passthrough")]
    _refuse(steps)
    X = rows_without_events(engine, make)
    for i, step in enumerate(steps):
        if i == 0 and hasattr(step, "_learn_in_passes"):
            step._learn_in_passes(X, partial(run_pass, engine, make))
        else:
            step.fit(X)
        if i + 1 < len(steps):
            X = step.transform(X)
    return transformer


def _refuse(steps: list[Any]) -> None:
    """Raise an error for steps that only events themselves could fit."""
    if not steps or not isinstance(
        steps[0], HistoryEncoder | HistoryAggregator | RFMFeatures
    ):
        what = type(steps[0]).__name__ if steps else "a pipeline without transformers"
        raise TypeError(
            "Partitions fit a HistoryEncoder, a HistoryAggregator, RFMFeatures, or a "
            f"pipeline that begins with one; got {what}. Fit others on a sample of the "
            "customers in one process."
        )
    is_encoder = isinstance(steps[0], HistoryEncoder)
    for step in steps[1:]:
        if not (is_encoder and type(step).__name__ == "StaticsTransformer"):
            raise TypeError(
                f"The step {type(step).__name__} would have to see the features of all "
                "rows. Fit the first step by partitions, and the others on what "
                "map(first.transform) returns."
            )
        for _, part, _ in step.transformers:
            parts = [one for _, one in getattr(part, "steps", [])]
            if any(isinstance(one, CustomerTargetEncoder) for one in parts):
                raise ValueError(
                    "many_levels='target' encodes statics by the target, which is not "
                    "learned by partitions; use many_levels='one-hot', or fit the "
                    "pipeline on a sample of the customers."
                )


def run_pass(engine: Engine, make: RowMaker, wanted: Pass) -> Any:
    """Return the joint summary of the rows of all partitions."""
    found = engine.collect(partial(_summarize, make, wanted.summarize))
    return reduce(wanted.merge, found)


def _summarize(make: RowMaker, summarize: Callable[[Any], Any], part: Part) -> Any:
    return summarize(make(part))


def rows_without_events(engine: Engine, make: RowMaker) -> pd.DataFrame:
    """Return all rows, with their statics and with empty histories.

    A few rows only, if there are no statics.
    """
    name, empty = make.recipe.name, make.empty(engine.head())
    dtype: Any = empty[name].dtype
    keys = {name, *dtype.keys}
    most = None if set(empty.columns) - keys else _FEW_OF_PART
    found = list(engine.collect(partial(_without_events, make, most)))
    parts = [one for one in found if len(one[0])] or found[:1]
    beside = pd.concat([rows for rows, _, _ in parts], ignore_index=True)
    ids = exact_ids(pd.Index(np.concatenate([own for _, own, _ in parts])), "customers")
    cutoff = np.concatenate([own for _, _, own in parts])
    template = make.schema.template
    customers = ids.unique().sort_values()
    offsets = np.zeros(len(customers) + 1, "int64")
    timeline = replace(template.timeline, customers=customers, offsets=offsets)
    log = template.with_events(timeline, template.columns)
    start = np.zeros(len(ids), "int64")
    codes = customers.get_indexer(ids).astype("int64")
    array = HistoryArray(log, codes, start, start.copy(), cutoff, dtype)
    beside.insert(list(empty.columns).index(name), name, pd.Series(array))
    return beside


def _without_events(
    make: RowMaker, most: int | None, part: Part
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return the columns of rows but the histories, customers, and cutoffs in ticks."""
    X = make(part)[:most]
    name = make.recipe.name
    array: Any = X[name].array
    ids = X[array.dtype.customer].to_numpy(dtype=object)
    return X.drop(columns=name), ids, array.rows.cutoff
