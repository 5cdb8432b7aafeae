"""Fits on small data, outputs as one array per row, and comparisons of outputs."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import has_fit_parameter

from sklearn_seqcrm.events import EventLog, HistoryArray, HistoryDtype
from sklearn_seqcrm.testing._small_data import make_table, make_y

# float32 sums in another order differ by about 1e-7 of their terms, and a recurrence
# amplifies that.
TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


@cache
def standard_rows() -> pd.DataFrame:
    return make_table()


def target_of(estimator: Any, X: Any) -> np.ndarray:
    """Return a target for the rows of X, equal in each call: classes, or numbers."""
    # An estimator of effects on classes has the tags of a classifier, and is none.
    takes_classes = get_tags(estimator).classifier_tags is not None
    return make_y(X, (0, 1) if takes_classes else (0.0, 1.0, 5.0))


def fit_to(estimator: Any, X: Any, y: Any = None) -> Any:
    """Fit an estimator itself, with treatments if it is one of effects."""
    y = target_of(estimator, X) if y is None else y
    if has_fit_parameter(estimator, "treatment"):
        return estimator.fit(X, y, treatment=make_y(X, seed=1))
    return estimator.fit(X, y)


def fitted(estimator: Any, X: Any) -> Any:
    """Return a fitted clone."""
    return fit_to(clone(estimator), X)


# The last estimator, fitted, with its outputs: laws that only predict share one fit.
# Other laws ensure that fits repeat, and that predict writes nothing.
_SHARED: dict[str, Any] = {}


def fitted_on_table(estimator: Any) -> tuple[pd.DataFrame, Any, list[np.ndarray]]:
    """Return the standard rows, an estimator fitted on them, and its outputs."""
    X = standard_rows().copy()
    if _SHARED.get("estimator") is not estimator:
        fit = fitted(estimator, X.copy())
        found = outputs(fit, X.copy())
        _SHARED.update(estimator=estimator, fit=fit, outputs=found)
    return X, _SHARED["fit"], _SHARED["outputs"]


def outputs(estimator: Any, X: Any) -> list[np.ndarray]:
    """Return the outputs of a fitted estimator as one flat array per row."""
    for method in ("predict_proba", "predict", "transform"):
        if hasattr(estimator, method):
            result = getattr(estimator, method)(X)
            break
    else:
        raise TypeError(
            f"{type(estimator).__name__} has none of predict_proba, predict and "
            "transform, so that there is nothing to check."
        )
    # Each form of a result becomes tables whose first axis is the row.
    if issparse(result):
        result = result.toarray()
    if isinstance(result, pd.DataFrame):
        tables = [_flat_columns(result)]
    elif isinstance(result, dict):
        tables = list(result.values())
    else:
        # Of several labels, scikit-learn returns a list of the probabilities of each.
        is_of_labels = method == "predict_proba" and isinstance(result, list)
        tables = result if is_of_labels else [result]
    return [
        np.concatenate([np.ravel(table[i]).astype("float64") for table in tables])
        for i in range(len(X))
    ]


def _flat_columns(frame: pd.DataFrame) -> list[np.ndarray]:
    """Return the numbers of each row of a DataFrame; text and datetimes are left out.

    A raw history contributes the fields of its events; an encoded one the channels and
    codes of its events, and its row features.
    """
    rows: list[list[np.ndarray]] = [[] for _ in range(len(frame))]
    for name in frame:
        values: Any
        if isinstance(frame[name].dtype, HistoryDtype):
            values = _flat_histories(frame[name].array)
        elif isinstance(frame[name].dtype, pd.CategoricalDtype):
            values = frame[name].cat.codes
        elif pd.api.types.is_numeric_dtype(frame[name].dtype):
            values = frame[name].to_numpy("float64", na_value=np.nan)
        else:
            continue
        for row, value in zip(rows, values, strict=True):
            row.append(np.ravel(value))
    return [np.concatenate(row) for row in rows]


def _flat_histories(array: HistoryArray) -> Iterator[np.ndarray]:
    log: Any = array.log
    rows = array.rows
    if isinstance(log, EventLog):
        frame = log.to_frame()[log.fields]
        fields = np.column_stack([_as_numbers(frame[name]) for name in frame])
        for start, stop in zip(rows.start, rows.stop, strict=True):
            yield fields[start:stop].ravel()
        return
    features = log.row_features(rows)
    for i, (start, stop) in enumerate(zip(rows.start, rows.stop, strict=True)):
        channels = log.channels[start:stop].copy()
        if log.layout.interarrival_channel is not None:
            # The channel of a view contains the time since an event before its
            # lookback. Its consumers must ignore it: the laws check that on networks
            # and padded tensors.
            channels[:1, log.layout.interarrival_channel] = 0
        yield np.concatenate(
            [channels.ravel(), log.codes[start:stop].ravel(), features[i]]
        )


def _as_numbers(field: pd.Series) -> np.ndarray:
    """Return a field of raw events as floats; text by a hash of its spelling."""
    if field.dtype.kind == "f":
        return field.to_numpy()
    if field.dtype.kind == "M":
        return field.to_numpy("datetime64[us]").astype("float64")
    codes = pd.util.hash_array(field.astype(str).to_numpy(dtype=object))
    return (codes % 2**32).astype("float64")


@contextmanager
def other_generators(seed: int) -> Iterator[None]:
    """Seed the global generators, and restore their states at the end."""
    numpy_global, torch = check_random_state(None), sys.modules.get("torch")
    states = random.getstate(), numpy_global.get_state()
    torch_state = None if torch is None else torch.get_rng_state()
    random.seed(seed)
    numpy_global.seed(seed)
    if torch is not None:
        torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        numpy_global.set_state(states[1])
        if torch is not None:
            torch.set_rng_state(torch_state)


def generator_states() -> str:
    """Return the states of the global generators as one text."""
    numpy_global, torch = check_random_state(None), sys.modules.get("torch")
    _, keys, *rest = numpy_global.get_state()
    states = [random.getstate(), keys.tolist(), rest]
    if torch is not None:
        states.append(torch.get_rng_state().tolist())
    return str(states)


def assert_same_rows(
    actual: Sequence[np.ndarray],
    desired: Sequence[np.ndarray],
    reason: str,
    **tolerance: Any,
) -> None:
    """Compare outputs of rows; exactly unless a tolerance is given."""
    assert len(actual) == len(desired), f"{len(actual)} outputs of {len(desired)} rows."
    for i, (one, other) in enumerate(zip(actual, desired, strict=True)):
        message = f"row {i}: {reason}"
        assert_allclose(one, other, **{"rtol": 0, **tolerance}, err_msg=message)


def assert_same_after_fit(
    estimator: Any, X: pd.DataFrame, desired: Sequence[np.ndarray], reason: str
) -> None:
    """Compare outputs of rows after a fit on them."""
    found = outputs(fitted(estimator, X), X)
    assert_same_rows(found, desired, f"{reason} after a fit on them", **TOLERANCE)


def assert_alone_as_in_batch(
    fit: Any, X: pd.DataFrame, batch: Sequence[np.ndarray], rows: Iterable[int]
) -> None:
    """Compare the outputs of some rows alone with those in a batch of all rows."""
    reason = (
        "a row alone has other outputs than in a batch. Does it depend on padding, on "
        "other rows, or on events that are visible in other rows?"
    )
    for i in rows:
        alone = outputs(fit, X.iloc[[i]])
        assert_same_rows(alone, [batch[i]], reason, **TOLERANCE)
