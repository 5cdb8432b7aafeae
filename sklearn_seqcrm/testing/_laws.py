"""Laws that hold for every estimator that takes histories.

Each check takes an estimator that is not fitted and takes *raw* `X`: a classifier, a
regressor or a transformer. `check_history_estimator` runs all of them. A check leaves
its estimator as it is, and raises an error that names the law that is broken.
"""

from __future__ import annotations

import io
import pickle
from typing import Any
from unittest import SkipTest

import numpy as np
import pandas as pd
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import clone

from sklearn_seqcrm import model_selection
from sklearn_seqcrm._store import Log
from sklearn_seqcrm.events import EventLog, HistoryArray
from sklearn_seqcrm.testing._fitted_outputs import (
    TOLERANCE,
    assert_alone_as_in_batch,
    assert_same_after_fit,
    assert_same_rows,
    fit_to,
    fitted,
    fitted_on_table,
    generator_states,
    other_generators,
    outputs,
    standard_rows,
    target_of,
)
from sklearn_seqcrm.testing._small_data import (
    DAY,
    attached,
    make_events,
    make_rows,
    make_table,
    rows_by_length,
)

START_OF_TIME = pd.Timestamp("1990-01-01")


def check_clone_and_params(estimator: Any) -> None:
    """Check that cloning, setting and fitting keep the parameters.

    Searches and pipelines of scikit-learn clone and set parameters all the time.
    """
    params = {k: repr(v) for k, v in estimator.get_params().items()}
    copy = clone(estimator)
    copied = {k: repr(v) for k, v in copy.get_params().items()}
    others = [k for k in {**params, **copied} if params.get(k) != copied.get(k)]
    assert not others, (
        f"A clone has other parameters, {others}: __init__ must assign its arguments "
        "as they are, and a copy of each must have the same repr, without an address."
    )
    copy.set_params(**copy.get_params())
    X = standard_rows().copy()
    found = fit_to(copy, X)
    assert found is copy, "fit does not return the estimator itself: return self."
    settings = found.get_params(deep=False)
    for name, value in estimator.get_params(deep=False).items():
        if name != "steps":  # a pipeline fits its steps in place
            assert repr(settings[name]) == repr(value), (
                f"fit changes the parameter {name}: store what it learns in {name}_."
            )


def check_fit_is_idempotent(estimator: Any) -> None:
    """Check that a second fit of the same object starts afresh.

    An object that was fitted on last month's rows is refitted on this month's.
    """
    X, _, once = fitted_on_table(estimator)
    other = make_table(n_customers=5, seed=3)  # other levels, scales and lengths
    twice = clone(estimator)
    for rows in (other, X):
        fit_to(twice, rows)
    reason = (
        "a second fit gives other outputs than a first one; fit must reset its state"
    )
    assert_same_rows(outputs(twice, X), once, reason)


def check_random_state_repeats(estimator: Any) -> None:
    """Check that two fits with one `random_state` give identical outputs."""
    X, _, first = fitted_on_table(estimator)
    # Whatever the state of the global generators.
    with other_generators(seed=1):
        again = fitted(estimator, X)
    with other_generators(seed=2):
        reason = "two fits with one random_state differ; use check_random_state in fit"
        assert_same_rows(outputs(again, X), first, reason)


def check_input_is_untouched(estimator: Any) -> None:
    """Check that fit and predict change no rows, histories or events."""
    X = standard_rows().copy()
    y = target_of(estimator, X)
    before, array = X.copy(), X["history"].array
    # Copies of start, stop, cutoff and so on, and of the events, which X shares.
    rows, events = [part.copy() for part in array.rows[1:]], array.log.to_frame()
    outputs(fit_to(clone(estimator), X, y), X)
    assert X.columns.equals(before.columns), "The columns of X have changed."
    assert_frame_equal(X.drop(columns="history"), before.drop(columns="history"))
    assert X["history"].dtype == before["history"].dtype, "The histories have changed."
    now = X["history"].array
    assert now.log is array.log, "X has another log."
    for one, other in zip(rows, now.rows[1:], strict=True):
        assert_array_equal(one, other, "The histories have changed.")
    assert_frame_equal(events, now.log.to_frame())
    assert_array_equal(y, target_of(estimator, X), "y has changed.")


def check_predict_writes_nothing(estimator: Any) -> None:
    """Check that predict does not change the fitted object: threads may share it."""
    X = standard_rows().copy()
    fit = fitted(estimator, X)
    outputs(fit, X)  # a first call may fill caches of torch
    before = pickle.dumps(fit)
    outputs(fit, X.iloc[:7])
    assert pickle.dumps(fit) == before, (
        "Predicting changes the fitted object: pickles before and after it differ."
    )


def check_row_order(estimator: Any) -> None:
    """Check that rows in another order have the same outputs, in that order."""
    X, fit, batch = fitted_on_table(estimator)
    order = np.random.default_rng(0).permutation(len(X))
    moved = outputs(fit, X.iloc[order])  # the index is permuted as well
    reason = "outputs do not follow the order of the rows"
    assert_same_rows(moved, [batch[i] for i in order], reason, **TOLERANCE)


def check_padding_invariance(estimator: Any) -> None:
    """Check that a row alone has the outputs that it has in any batch."""
    X, fit, batch = fitted_on_table(estimator)
    rows = rows_by_length(X)
    assert_alone_as_in_batch(fit, X, batch, rows)
    # Beside the longest history a short one has the most padding.
    for i in rows[:-1]:
        both = outputs(fit, X.iloc[[i, rows[-1]]])
        reason = (
            "a row has other outputs in a batch with a long history: is padding masked?"
        )
        assert_same_rows(both[:1], [batch[i]], reason, **TOLERANCE)


def check_prefix_invariance(estimator: Any) -> None:
    """Check that the other rows of its customer do not change a row's outputs.

    They include later events, and events before its lookback.
    """
    for lookback in (None, "200D"):
        X = make_table(n_cutoffs=6, lookback=lookback)
        fit = fitted(estimator, X)
        for customer in ("c1", "c7"):
            own = X[X["who"] == customer]
            assert own["history"].array.lengths.max() > 0
            rows = range(1, len(own), 2)
            assert_alone_as_in_batch(fit, own, outputs(fit, own), rows)


def check_short_and_unknown_histories(estimator: Any) -> None:
    """Check that outputs for one event, none, or an unknown customer are finite.

    A customer who is not in the log is like one without events: the first visit of
    a new customer is scored, too.
    """
    X, fit, _ = fitted_on_table(estimator)
    row = X.iloc[[0]].drop(columns="history")
    events = make_events()
    first = events.query("who == 'c1'")["when"].min()
    cases = {
        "one event": row.assign(who="c1", at=first + pd.Timedelta("1us")),
        "no event yet": row.assign(who="c1", at=first),
        "unknown": row.assign(who="nobody", at=first),
    }
    together = attached(events, pd.concat(cases.values()))
    assert together["history"].array.lengths.tolist() == [1, 0, 0]
    batch = outputs(fit, together)
    for case, output in zip(cases, batch, strict=True):
        # A transformer may return NaN for a missing value.
        bad = np.isinf if hasattr(fit, "transform") else lambda x: ~np.isfinite(x)
        assert not bad(output).any(), f"{case}: outputs are not finite."
    reason = "a customer who is not in the log is not like one without events"
    assert_same_rows(batch[2:], batch[1:2], reason, **TOLERANCE)
    assert_alone_as_in_batch(fit, together, batch, range(3))


def check_lookback(estimator: Any) -> None:
    """Check that events before the lookback of a row have no effect.

    Nor has it an effect whether there were any: a model in production gets the events
    of the window only.
    """
    events, rows, window = make_events(), make_rows(), {"lookback": "200D"}
    X = attached(events, rows, **window)
    lengths = X["history"].array.lengths
    assert 0 < lengths.sum() < standard_rows()["history"].array.lengths.sum()
    # In the windows of other rows of the customer, some of them are visible.
    fit = fitted(estimator, X)
    assert_alone_as_in_batch(fit, X, outputs(fit, X), rows_by_length(X))
    # One row of each customer: an event before its window is in no window.
    one = X.drop_duplicates("who")
    begin = events["who"].map(one.set_index("who")["at"]) - pd.Timedelta("200D")
    old = (events["when"] < begin).to_numpy()
    assert old.any()
    changed = events.copy()
    changed.loc[old, "amount"] = 1e6
    changed.loc[old, "kind"] = "never heard of"
    changed.loc[old, "due"] = START_OF_TIME
    expected = outputs(fitted(estimator, one), one)
    for case, table in (("changed", changed), ("removed", events[~old])):
        other = attached(table, rows.loc[one.index], **window)
        found = outputs(fitted(estimator, other), other)
        reason = f"events before the lookback have an effect: they were {case}"
        assert_same_rows(found, expected, reason, **TOLERANCE)


def check_several_histories(estimator: Any) -> None:
    """Check that two history columns of different logs both have an effect."""
    events = make_events(seed=5)[["who", "when", "kind"]]
    events = events.rename(columns={"who": "customer", "kind": "page"})

    def with_clicks(clicks: pd.DataFrame) -> pd.DataFrame:
        log = EventLog(clicks, "customer", "when")
        return log.attach(
            standard_rows().copy(), customer="who", cutoff="at", name="clicks"
        )

    X = with_clicks(events)
    fit = fitted(estimator, X)
    batch = outputs(fit, X)
    assert_alone_as_in_batch(fit, X, batch, (0, 11, 23))
    # Half of the clicks: other outputs, unless the second column is ignored.
    pairs = zip(outputs(fit, with_clicks(events[::2])), batch, strict=True)
    assert not all(np.array_equal(one, two, equal_nan=True) for one, two in pairs), (
        "Other events in the second history column change no output: it is not read."
    )


def check_order_of_lines(estimator: Any) -> None:
    """Check that the order of the events of a moment changes no bit of a prediction.

    The lines of an invoice have no order, but a table has one. The law holds for
    pipelines that predict from a `HistoryEncoder` with `moments`. Others may read the
    last line of an invoice, for example, and pass.
    """
    steps = [step for _, step in getattr(estimator, "steps", [])]
    if not any(getattr(step, "moments", False) for step in steps):
        return  # without a fit
    events = make_events()
    # Five times, and two events a moment on average.
    events["when"] = events["when"].dt.floor("240D")
    permuted = events.sample(frac=1, random_state=1)
    X, other = (attached(table, make_rows()) for table in (events, permuted))
    fit = fitted(estimator, X)
    if not _joins_moments(fit):
        return
    expected = outputs(fit, X)
    reason = "the order of the events of a moment changes the outputs"
    assert_same_rows(outputs(fit, other), expected, reason)
    refit = outputs(fitted(estimator, other), other)
    assert_same_rows(refit, expected, f"{reason} after a fit on them")


def _joins_moments(fit: Any) -> bool:
    """Return whether a fitted pipeline predicts from histories of moments alone."""
    layouts = [
        layout.moments
        for _, step in getattr(fit, "steps", [])
        for layout in getattr(step, "layouts_", {}).values()
    ]
    return bool(layouts) and None not in layouts and not hasattr(fit, "transform")


def check_order_of_columns(estimator: Any) -> None:
    """Check that the order of columns has no effect, or that an error names it."""
    X, fit, batch = fitted_on_table(estimator)
    try:
        found = outputs(fit, X[X.columns[::-1]])
    except ValueError as error:
        if "order" not in str(error):
            raise
        return
    reason = "outputs depend on the order of the columns; select them by name"
    assert_same_rows(found, batch, reason, **TOLERANCE)


def check_very_long_history(estimator: Any) -> None:
    """Check a customer with hundreds of times as many events, alone and in a batch."""
    events = make_events(mean_events=3)
    many = events[events["who"] == "c5"].sample(1000, replace=True, random_state=0)
    # All within minutes, so that all are visible at every cutoff of the customer.
    seconds = pd.to_timedelta(np.arange(len(many)), unit="s")
    many = many.assign(when=events["when"].min() + seconds)
    X = attached(pd.concat([events, many]), make_rows())
    lengths = X["history"].array.lengths
    assert lengths.max() >= 1000
    assert np.sort(lengths)[-5] < 100
    fit = fitted(estimator, X)
    longest = int(lengths.argmax())
    rows = (longest, (longest + 1) % len(X))
    assert_alone_as_in_batch(fit, X, outputs(fit, X), rows)


def check_vectors(estimator: Any) -> None:
    """Check that vector fields with missing vectors are used, left out or refused.

    An error must name them. Vectors of events at or after the cutoffs have no effect.
    """
    events = make_events(n_components=3)
    rows = make_rows().drop_duplicates("who")
    cutoff = events["who"].map(rows.set_index("who")["at"])
    vectors = events["vector"].tolist()
    for i in np.flatnonzero(events["when"] >= cutoff).tolist():
        # Huge or missing: a mean, a scale or a count over all vectors would move.
        vectors[i] = [1e9, -1e9, 0.0] if i % 2 else None
    rewritten = events.assign(vector=pd.Series(vectors, dtype=object))
    X, other = (attached(table, rows) for table in (events, rewritten))
    try:
        fit = fitted(estimator, X)
    except ValueError as error:
        if "vectors in ['vector']" not in str(error):
            raise
        return
    batch = outputs(fit, X)
    longest = int(X["history"].array.lengths.argmax())
    assert_alone_as_in_batch(fit, X, batch, [longest])
    reason = "vectors at or after the cutoffs change the outputs"
    assert_same_after_fit(estimator, other, batch, reason)


def check_pickle(estimator: Any) -> None:
    """Check that a fitted object out of a pickle gives identical outputs."""
    X, fit, batch = fitted_on_table(estimator)
    back = pickle.loads(pickle.dumps(fit))
    assert_same_rows(outputs(back, X), batch, "a pickled copy has other outputs")


def check_pickled_rows(estimator: Any) -> None:
    """Check that rows out of a pickle, over a smaller log, have the same outputs."""
    X, fit, batch = fitted_on_table(estimator)
    some = X["who"].isin(["c1", "c2"]).to_numpy()
    # A pickle of rows holds a smaller log: customers have other positions in it.
    back = pickle.loads(pickle.dumps(X[some]))
    assert len(back["history"].array.log) < len(X["history"].array.log)
    reason = "pickled rows have other outputs; positions in the log are no identities"
    expected = [batch[i] for i in np.flatnonzero(some)]
    assert_same_rows(outputs(fit, back), expected, reason, **TOLERANCE)


def check_no_leakage(estimator: Any) -> None:
    """Check that events at or after the cutoffs change no output.

    Neither outputs of a fitted estimator change, nor those after a fit on other events.
    """
    events = make_events()
    rows = make_rows().drop_duplicates("who")
    cutoff = events["who"].map(rows.set_index("who")["at"])
    # One event lies exactly at the cutoff of its row.
    at = events.index[(events["who"] == "c5") & (events["when"] > cutoff)][0]
    events.loc[at, "when"] = cutoff[at]
    future = (events["when"] >= cutoff).to_numpy()
    assert future[at]
    assert 10 < future.sum() < len(events) - 10
    rewritten = events.copy()
    rewritten.loc[future, "amount"] = -1e9
    rewritten.loc[future, "kind"] = "from the future"
    rewritten.loc[future, "due"] += 900 * DAY
    # Later as well, new customers, and twice as many events.
    later = rewritten["when"] + 40 * DAY
    rewritten["when"] = rewritten["when"].mask(future & (events.index != at), later)
    more = rewritten[future].assign(who="a customer of the future")
    rewritten = pd.concat([more, rewritten, rewritten[future]], ignore_index=True)
    X, other = (attached(table, rows) for table in (events, rewritten))
    assert_array_equal(X["history"].array.lengths, other["history"].array.lengths)
    fit = fitted(estimator, X)
    expected = outputs(fit, X)
    reason = "events at or after the cutoffs change the outputs"
    assert_same_rows(outputs(fit, other), expected, reason, **TOLERANCE)
    assert_same_after_fit(estimator, other, expected, reason)
    model_selection.check_no_leakage(fit, X, n_cutoffs=2)


def check_generators_are_untouched(estimator: Any) -> None:
    """Check that global generators of Python, NumPy and torch keep their states.

    Threads share them: an estimator that draws from them changes results elsewhere.
    """
    X = standard_rows().copy()
    before = generator_states()
    outputs(fitted(estimator, X), X)
    assert generator_states() == before, (
        "fit or predict draws from a global generator, or seeds it; draw from "
        "check_random_state(self.random_state)."
    )


class _WithoutEvents(pickle.Pickler):
    """Pickler that refuses objects with events."""

    def reducer_override(self, found: Any) -> Any:
        """Refuse an object on its way into the pickle, or let pickle write it."""
        assert not isinstance(found, (Log, HistoryArray, pd.DataFrame)), (
            f"The fitted object holds a {type(found).__name__}, so that its pickle "
            "has events in it; keep only what predict needs."
        )
        return NotImplemented


def check_holds_no_events(estimator: Any) -> None:
    """Check that a fitted object holds no log, no histories and no DataFrame.

    A model file must be small, and must not contain the data of customers.
    """
    _, fit, _ = fitted_on_table(estimator)
    _WithoutEvents(io.BytesIO()).dump(fit)


def check_object_array(estimator: Any) -> None:
    """Check that an object array gives the outputs of the DataFrame, if it is taken.

    A ColumnTransformer makes such an array of a DataFrame.
    """
    X = standard_rows()[["history", "age"]].fillna({"age": 40.0})
    objects = X.to_numpy(dtype=object)
    expected = outputs(fitted(estimator, X), X)
    try:
        fit = fitted(estimator, objects)
    except Exception as error:
        raise SkipTest(f"It takes no arrays of objects: {error}") from error
    reason = "an object array has other outputs than the DataFrame of the same rows"
    assert_same_rows(outputs(fit, objects), expected, reason)


ALL_CHECKS = [
    value
    for name, value in list(globals().items())
    if name.startswith("check_") and value.__module__ == __name__
]
