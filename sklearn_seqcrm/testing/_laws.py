"""Laws that hold for everything that reads histories.

Each check takes an estimator that is not fitted and reads *raw* `X`: a classifier, a
regressor or a transformer. `check_history_estimator` runs all of them.
"""

from __future__ import annotations

import io
import pickle
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import SkipTest

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from scipy.sparse import issparse
from sklearn.base import clone, is_classifier
from sklearn.utils import check_random_state

from sklearn_seqcrm import model_selection
from sklearn_seqcrm._store import Log
from sklearn_seqcrm.events import EventLog, HistoryArray, HistoryDtype
from sklearn_seqcrm.testing._small_data import (
    DAY,
    make_events,
    make_rows,
    make_table,
    make_y,
)

TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
START_OF_TIME = pd.Timestamp("1990-01-01")


# What the laws are about --------------------------------------------------------------


def target_of(estimator: Any, X: Any) -> np.ndarray:
    """A target for the rows of X, always the same: classes, or numbers."""
    return make_y(X, (0, 1) if is_classifier(estimator) else (0.0, 1.0, 5.0))


def fitted(estimator: Any, X: Any) -> Any:
    """A fitted clone."""
    return clone(estimator).fit(X, target_of(estimator, X))


def outputs(estimator: Any, X: Any) -> list[np.ndarray]:
    """What a fitted estimator says of each row, as one flat array per row."""
    for method in ("predict_proba", "predict", "transform"):
        if hasattr(estimator, method):
            result = getattr(estimator, method)(X)
            break
    else:
        raise TypeError(
            f"{type(estimator).__name__} has none of predict_proba, predict and "
            "transform, so that there is nothing to check."
        )
    if issparse(result):
        result = result.toarray()
    if isinstance(result, pd.DataFrame):
        tables = [_flat_columns(result)]
    elif isinstance(result, dict):
        tables = list(result.values())
    else:
        tables = [result]
    return [
        np.concatenate([np.ravel(table[i]).astype("float64") for table in tables])
        for i in range(len(X))
    ]


def _flat_columns(frame: pd.DataFrame) -> list[np.ndarray]:
    """The numbers behind each row of a DataFrame, statics that are no numbers left out.

    A raw history is its events' fields, an encoded one its events' channels and codes,
    and the row features.
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
        if log.layout.gap_channel is not None:
            # A view shows the gap to an event before its lookback; who reads it must
            # not, which networks and padded tensors are held to.
            channels[:1, log.layout.gap_channel] = 0
        yield np.concatenate(
            [channels.ravel(), log.codes[start:stop].ravel(), features[i]]
        )


def _as_numbers(field: pd.Series) -> np.ndarray:
    """A field of raw events as floats; text as codes, which depend on its spelling."""
    if field.dtype.kind == "f":
        return field.to_numpy()
    if field.dtype.kind == "M":
        return field.to_numpy("datetime64[us]").astype("float64")
    codes = pd.util.hash_array(field.astype(str).to_numpy(dtype=object))
    return (codes % 2**32).astype("float64")


@contextmanager
def _other_generators(seed: int) -> Iterator[None]:
    """Seed the global generators, and put them back as they were at the end."""
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


def _draws() -> str:
    """What the global generators stand at, as one text."""
    numpy_global, torch = check_random_state(None), sys.modules.get("torch")
    _, keys, *rest = numpy_global.get_state()
    states = [random.getstate(), keys.tolist(), rest]
    if torch is not None:
        states.append(torch.get_rng_state().tolist())
    return str(states)


def assert_same_rows(
    actual: Sequence[np.ndarray], desired: Sequence[np.ndarray], **tolerance: Any
) -> None:
    """Compare rows; exactly unless a tolerance is given."""
    assert len(actual) == len(desired)
    for i, (one, other) in enumerate(zip(actual, desired, strict=True)):
        assert_allclose(one, other, **{"rtol": 0, **tolerance}, err_msg=f"row {i}")


def snapshot(X: pd.DataFrame) -> tuple[pd.DataFrame, dict[Any, list[Any]]]:
    """A copy of `X` that no change in place can reach, events and all."""
    parts = {}
    for name in X:
        column = X[name]
        if isinstance(column.dtype, HistoryDtype):
            rows = column.array.rows
            parts[name] = [id(rows.log), *(part.copy() for part in rows[1:])]
            parts[f"{name} log"] = [rows.log.to_frame()]
    return X.copy(), parts


# The laws -----------------------------------------------------------------------------


def check_clone_and_params(estimator: Any) -> None:
    """Parameters survive cloning, setting and fitting."""
    params = {k: repr(v) for k, v in estimator.get_params().items()}
    copy = clone(estimator)
    assert {k: repr(v) for k, v in copy.get_params().items()} == params, (
        "A clone has other parameters."
    )
    copy.set_params(**copy.get_params())
    X = make_table()
    fit = copy.fit(X, target_of(estimator, X))
    assert fit is copy, "fit does not return the estimator itself."
    settings = fit.get_params(deep=False)
    for name, value in estimator.get_params(deep=False).items():
        if name != "steps":
            assert repr(settings[name]) == repr(value), f"fit changes {name}."


def check_fit_is_idempotent(estimator: Any) -> None:
    """A second fit of the same object starts afresh, whatever the first one saw."""
    X, other = make_table(), make_table(n_customers=5, seed=3)
    once = fitted(estimator, X)
    twice = clone(estimator)
    for rows in (other, X):
        twice.fit(rows, target_of(estimator, rows))
    assert_same_rows(outputs(twice, X), outputs(once, X))


def check_random_state_repeats(estimator: Any) -> None:
    """Two fits with one `random_state` give identical outputs."""
    X = make_table()
    first = outputs(fitted(estimator, X), X)
    # Whatever state the global generators are in.
    with _other_generators(seed=1):
        again = fitted(estimator, X)
    with _other_generators(seed=2):
        assert_same_rows(outputs(again, X), first)


def check_input_is_untouched(estimator: Any) -> None:
    """Neither fit nor predict change rows, histories or events."""
    X = make_table()
    y = target_of(estimator, X)
    before, parts = snapshot(X)
    fit = clone(estimator).fit(X, y)
    outputs(fit, X)
    assert X.columns.equals(before.columns), "The columns of X have changed."
    assert_frame_equal(X.drop(columns="history"), before.drop(columns="history"))
    assert X["history"].dtype == before["history"].dtype, "The histories have changed."
    _, after = snapshot(X)
    assert parts["history"][0] == after["history"][0], "X has another log."
    for was, now in zip(parts["history"][1:], after["history"][1:], strict=True):
        assert_array_equal(was, now, "The histories have changed.")
    assert_frame_equal(parts["history log"][0], after["history log"][0])
    assert_array_equal(y, target_of(estimator, X), "y has changed.")


def check_predict_writes_nothing(estimator: Any) -> None:
    """Predicting leaves the fitted object as it was."""
    X = make_table()
    fit = fitted(estimator, X)
    outputs(fit, X)  # a first call may fill caches of torch
    before = pickle.dumps(fit)
    outputs(fit, X.iloc[:7])
    assert pickle.dumps(fit) == before, (
        "Predicting changes the fitted object: pickles before and after it differ."
    )


def check_row_order(estimator: Any) -> None:
    """Rows in another order have the same outputs, in that order."""
    X = make_table()
    fit = fitted(estimator, X)
    order = np.random.default_rng(0).permutation(len(X))
    whole = outputs(fit, X)
    moved = outputs(fit, X.iloc[order])
    assert_same_rows(moved, [whole[i] for i in order], **TOLERANCE)


def check_padding_invariance(estimator: Any) -> None:
    """A row alone has the outputs that it has in any batch."""
    X = make_table()
    fit = fitted(estimator, X)
    whole = outputs(fit, X)
    longest = int(np.argmax(X["history"].array.lengths))
    for i in range(0, len(X), 5):
        alone = outputs(fit, X.iloc[[i]])
        assert_same_rows(alone, [whole[i]], **TOLERANCE)
        beside_longest = outputs(fit, X.iloc[[i, longest]])
        assert_same_rows(beside_longest[:1], [whole[i]], **TOLERANCE)


def check_prefix_invariance(estimator: Any) -> None:
    """A row alone has the outputs that it has beside its customer's other rows.

    Those may see events that a lookback hides from it.
    """
    for lookback in (None, "200D"):
        X = make_table(n_cutoffs=6, lookback=lookback)
        fit = fitted(estimator, X)
        for customer in ("c1", "c3", "c7"):
            own = X[X["who"] == customer]
            assert own["history"].array.lengths.max() > 0
            together = outputs(fit, own)
            for i in range(len(own)):
                alone = outputs(fit, own.iloc[[i]])
                assert_same_rows(alone, [together[i]], **TOLERANCE)


def check_short_and_unknown_histories(estimator: Any) -> None:
    """One event, none, and a customer that the log has never seen."""
    log = EventLog(make_events(), "who", "when")
    X = make_table()
    fit = fitted(estimator, X)
    row = X.iloc[[0]].drop(columns="history")
    first = make_events().query("who == 'c1'")["when"].min()
    cases = {
        "one event": row.assign(who="c1", at=first + pd.Timedelta("1us")),
        "no event yet": row.assign(who="c1", at=first),
        "unknown": row.assign(who="nobody", at=first),
    }
    found = {}
    for case, rows in cases.items():
        attached = log.attach(rows, cutoff="at")
        assert len(attached["history"].iloc[0]) == (case == "one event")
        [found[case]] = outputs(fit, attached)
        # Transformers may say that something is missing.
        bad = np.isinf if hasattr(fit, "transform") else lambda x: ~np.isfinite(x)
        assert not bad(found[case]).any(), f"{case}: outputs are not finite."
    assert_allclose(
        found["unknown"],
        found["no event yet"],
        **TOLERANCE,
        err_msg="A customer that the log does not know is not like one without events.",
    )
    # Rows of all kinds in one batch are the same again.
    together = log.attach(pd.concat(cases.values()), cutoff="at")
    assert_same_rows(outputs(fit, together), list(found.values()), **TOLERANCE)


def check_lookback(estimator: Any) -> None:
    """Events before a row's lookback have no say, nor has whether there were any."""
    events, rows = make_events(), make_rows()
    X = EventLog(events, "who", "when").attach(rows, cutoff="at", lookback="200D")
    lengths = X["history"].array.lengths
    assert 0 < lengths.sum() < make_table()["history"].array.lengths.sum()
    # Nor have they for other rows of the customer, in whose windows they are.
    fit = fitted(estimator, X)
    whole = outputs(fit, X)
    for i in range(0, len(X), 5):
        assert_same_rows(outputs(fit, X.iloc[[i]]), [whole[i]], **TOLERANCE)
    # One row of each customer, so that what is before its window is before all.
    one = X.drop_duplicates("who")
    window = events["who"].map(one.set_index("who")["at"]) - pd.Timedelta("200D")
    changed = events.copy()
    old = (events["when"] < window).to_numpy()
    assert old.any()
    changed.loc[old, "amount"] = 1e6
    changed.loc[old, "kind"] = "never heard of"
    changed.loc[old, "due"] = START_OF_TIME
    other = EventLog(changed, "who", "when").attach(
        rows.loc[one.index], cutoff="at", lookback="200D"
    )
    expected = outputs(fitted(estimator, one), one)
    assert_same_rows(outputs(fitted(estimator, other), other), expected, **TOLERANCE)
    without = EventLog(events[~old], "who", "when").attach(
        rows.loc[one.index], cutoff="at", lookback="200D"
    )
    assert_same_rows(
        outputs(fitted(estimator, without), without), expected, **TOLERANCE
    )


def check_several_histories(estimator: Any) -> None:
    """Two history columns of different logs are both read."""
    events = make_events(seed=5)[["who", "when", "kind"]]
    events = events.rename(columns={"who": "customer", "kind": "page"})
    clicks = EventLog(events, "customer", "when")
    X = clicks.attach(make_table(), customer="who", cutoff="at", name="clicks")
    fit = fitted(estimator, X)
    whole = outputs(fit, X)
    for i in (0, 11, 23):
        assert_same_rows(outputs(fit, X.iloc[[i]]), [whole[i]], **TOLERANCE)
    # Other clicks are another output.
    other = EventLog(events[::2], "customer", "when")
    changed = other.attach(make_table(), customer="who", cutoff="at", name="clicks")
    pairs = zip(outputs(fit, changed), whole, strict=True)
    assert not all(np.array_equal(one, two, equal_nan=True) for one, two in pairs), (
        "Other events in the second history column change no output: it is not read."
    )


def check_order_of_columns(estimator: Any) -> None:
    """Columns in another order have the same outputs, or are an error that says so."""
    X = make_table()
    fit = fitted(estimator, X)
    try:
        found = outputs(fit, X[X.columns[::-1]])
    except ValueError as error:
        if "order" not in str(error):
            raise
        return
    assert_same_rows(found, outputs(fit, X), **TOLERANCE)


def check_very_long_history(estimator: Any) -> None:
    """A customer with a thousand times the events of others, alone and beside them."""
    events = make_events(mean_events=3)
    is_long = events["who"] == "c5"
    many = events[is_long].sample(3000, replace=True, random_state=0)
    seconds = pd.to_timedelta(np.arange(len(many)), unit="s")
    many = many.assign(when=events["when"].min() + seconds)
    log = EventLog(pd.concat([events, many]), "who", "when")
    X = log.attach(make_rows(), cutoff="at")
    lengths = X["history"].array.lengths
    assert lengths.max() >= 3000
    assert np.sort(lengths)[-5] < 100
    fit = fitted(estimator, X)
    whole = outputs(fit, X)
    longest = int(lengths.argmax())
    for i in (longest, (longest + 1) % len(X)):
        assert_same_rows(outputs(fit, X.iloc[[i]]), [whole[i]], **TOLERANCE)


def check_vectors(estimator: Any) -> None:
    """Vectors of events, some of them missing, are read, left out, or refused by name.

    Where they are read, a row alone is what it is beside others, and the vectors of
    events at or after the cutoffs change nothing.
    """
    events = make_events(n_components=3)
    rows = make_rows().drop_duplicates("who")
    cutoff = events["who"].map(rows.set_index("who")["at"])
    vectors = events["vector"].tolist()
    for i in np.flatnonzero(events["when"] >= cutoff).tolist():
        vectors[i] = [1e9, -1e9, 0.0] if i % 2 else None
    rewritten = events.assign(vector=pd.Series(vectors, dtype=object))
    X, other = (
        EventLog(table, "who", "when").attach(rows, cutoff="at")
        for table in (events, rewritten)
    )
    try:
        fit = fitted(estimator, X)
    except ValueError as error:
        if "vectors in ['vector']" not in str(error):
            raise
        return
    whole = outputs(fit, X)
    longest = int(X["history"].array.lengths.argmax())
    assert_same_rows(outputs(fit, X.iloc[[longest]]), [whole[longest]], **TOLERANCE)
    assert_same_rows(outputs(fitted(estimator, other), other), whole, **TOLERANCE)


def check_pickle(estimator: Any) -> None:
    """A fitted object out of a pickle gives identical outputs."""
    X = make_table()
    fit = fitted(estimator, X)
    back = pickle.loads(pickle.dumps(fit))
    assert_same_rows(outputs(back, X), outputs(fit, X))


def check_pickled_rows(estimator: Any) -> None:
    """So do rows out of a pickle, which carry their own customers' events only."""
    X = make_table()
    fit = fitted(estimator, X)
    few = X[X["who"].isin(["c1", "c2"])]
    back = pickle.loads(pickle.dumps(few))
    assert len(back["history"].array.log) < len(X["history"].array.log)
    assert_same_rows(outputs(fit, back), outputs(fit, few), **TOLERANCE)


def check_no_leakage(estimator: Any) -> None:
    """Whatever happens at or after the cutoffs changes no output.

    Both after a fit on it, and after it, where also nothing may happen any more.
    """
    events = make_events()
    rows = make_rows().drop_duplicates("who")
    cutoff = events["who"].map(rows.set_index("who")["at"])
    # One event lies right at its row's cutoff.
    at = events.index[(events["who"] == "c5") & (events["when"] > cutoff)][0]
    events.loc[at, "when"] = cutoff[at]
    future = (events["when"] >= cutoff).to_numpy()
    assert future[at]
    assert 10 < future.sum() < len(events) - 10
    rewritten = events.copy()
    rewritten.loc[future, "amount"] = -1e9
    rewritten.loc[future, "kind"] = "from the future"
    rewritten.loc[future, "due"] += 900 * DAY
    later = rewritten["when"] + 40 * DAY
    rewritten["when"] = rewritten["when"].mask(future & (events.index != at), later)
    more = rewritten[future].assign(who="a customer of the future")
    rewritten = pd.concat([more, rewritten, rewritten[future]], ignore_index=True)
    X, other = (
        EventLog(table, "who", "when").attach(rows, cutoff="at")
        for table in (events, rewritten)
    )
    assert_array_equal(X["history"].array.lengths, other["history"].array.lengths)
    fit = fitted(estimator, X)
    expected = outputs(fit, X)
    assert_same_rows(outputs(fit, other), expected, **TOLERANCE)
    assert_same_rows(outputs(fitted(estimator, other), other), expected, **TOLERANCE)
    model_selection.check_no_leakage(fit, X, n_cutoffs=5)


def check_generators_are_untouched(estimator: Any) -> None:
    """The global generators of Python, NumPy and torch are as they were."""
    X = make_table()
    before = _draws()
    fit = fitted(estimator, X)
    outputs(fit, X)
    assert _draws() == before, (
        "fit or predict draws from a global generator, or seeds it; draw from "
        "check_random_state(self.random_state)."
    )


class _WithoutEvents(pickle.Pickler):
    """Refuses to write what holds events."""

    def reducer_override(self, found: Any) -> Any:
        """Look at each object on its way into the pickle."""
        assert not isinstance(found, (Log, HistoryArray, pd.DataFrame)), (
            f"The fitted object holds a {type(found).__name__}, so that its pickle has "
            "events in it."
        )
        return NotImplemented


def check_holds_no_events(estimator: Any) -> None:
    """A fitted object holds no log, no histories and no DataFrame."""
    _WithoutEvents(io.BytesIO()).dump(fitted(estimator, make_table()))


def check_object_array(estimator: Any) -> None:
    """Histories that a ColumnTransformer made objects of read the same, if at all."""
    X = make_table()[["history", "age"]].fillna({"age": 40.0})
    objects = X.to_numpy(dtype=object)
    expected = outputs(fitted(estimator, X), X)
    try:
        fit = fitted(estimator, objects)
    except Exception as error:
        raise SkipTest(f"It takes no arrays of objects: {error}") from error
    assert_same_rows(outputs(fit, objects), expected)


ALL_CHECKS = [
    value
    for name, value in list(globals().items())
    if name.startswith("check_") and value.__module__ == __name__
]
